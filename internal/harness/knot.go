package harness

import (
	"fmt"
	"strings"
)

// KnotConfig returns a configuration of Knot DNS that listens on a port of
// 127.0.0.1, with some workers for UDP, keeps its files in dir, and serves zones: see
// [KnotZone].
func KnotConfig(dir string, port, workers int, zones ...string) string {
	return fmt.Sprintf(`server:
    listen: 127.0.0.1@%d
    rundir: %q
    udp-workers: %[4]d
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[2]q
log:
  - target: stderr
    any: info
zone:
%[3]s`, port, dir, strings.Join(zones, ""), workers)
}

// KnotZone returns a zone's part of a configuration of Knot DNS.
func KnotZone(origin, file string) string {
	return fmt.Sprintf("  - domain: %q\n    file: %q\n    semantic-checks: off\n", origin, file)
}
