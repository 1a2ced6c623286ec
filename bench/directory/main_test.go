package main

import (
	"testing"
	"time"
)

// TestRun runs the benchmark small and short, so that it stays able to run. What
// it measures then says nothing.
func TestRun(t *testing.T) {
	if _, err := run(options{users: 5000, rsa: 500, rounds: 1, changes: 2, time: time.Second}); err != nil {
		t.Fatal(err)
	}
}
