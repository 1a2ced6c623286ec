//go:build !linux

package disk

import (
	"errors"
	"runtime"
)

func newNotifier() (Notifier, error) {
	return nil, errors.New("notifications are read on Linux only, not on " + runtime.GOOS)
}
