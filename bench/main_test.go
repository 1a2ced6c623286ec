package main

import (
	"testing"
	"time"
)

// TestRun runs the benchmark small and short, so that it stays able to run. What
// it measures then says nothing.
func TestRun(t *testing.T) {
	if _, err := run(options{users: 2000, more: 4000, rounds: 1, time: 200 * time.Millisecond, queries: 20_000, parts: "peers two answers denials beside million amplification"}); err != nil {
		t.Fatal(err)
	}
}
