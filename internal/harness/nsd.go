package harness

import (
	"fmt"
	"path/filepath"
	"strings"
)

// NSDConfig returns a configuration of NSD that listens on a port of 127.0.0.1,
// keeps its files in dir, asks for no privilege and limits no rate. Lines of its
// server: clause can be added; zones are clauses as they stand.
func NSDConfig(dir string, port int, server []string, zones ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
	ip-address: 127.0.0.1@%d
	username: ""
	chroot: ""
	zonesdir: %q
	database: ""
	pidfile: ""
	logfile: ""
	xfrdfile: %q
	xfrdir: %[2]q
	zonelistfile: %[4]q
	cookie-secret-file: ""
	rrl-ratelimit: 0
`, port, dir, filepath.Join(dir, "xfrd.state"), filepath.Join(dir, "zone.list"))
	for _, line := range server {
		fmt.Fprintf(&b, "\t%s\n", line)
	}
	b.WriteString("remote-control:\n\tcontrol-enable: no\n")
	for _, zone := range zones {
		b.WriteString(zone)
	}
	return b.String()
}

// NSDZone returns a zone's clause in a configuration of NSD. Lines can be added.
func NSDZone(origin, file string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "zone:\n\tname: %q\n\tzonefile: %q\n", origin, file)
	for _, line := range lines {
		fmt.Fprintf(&b, "\t%s\n", line)
	}
	return b.String()
}
