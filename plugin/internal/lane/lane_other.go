//go:build !linux

package lane

import "errors"

// A Lane is for Linux only.
type Lane struct{}

// Open returns an error: there is no lane on this platform.
func Open(Options) (*Lane, error) { return nil, errors.New("it needs Linux") }

// Close does nothing.
func (*Lane) Close() {}

// Expect does nothing.
func Expect(any, ...string) {}

// Abandon does nothing.
func Abandon() {}
