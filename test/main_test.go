// Package test holds the tests of the whole system: real servers, real resolvers,
// real clients, on loopback.
package test

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	// What the Corefiles of the tests and the READMEs use. The binary that
	// startProcess runs has all of CoreDNS.
	_ "coredns-smimea/plugin"

	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/dnssec"
	_ "github.com/coredns/coredns/plugin/dnstap"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/multisocket"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/transfer"
	_ "github.com/coredns/coredns/plugin/tsig"
	_ "github.com/coredns/coredns/plugin/view"
)

// scratch is a directory for what is made once a run.
var scratch string

// peers lists the programs that the tests run, each with its Debian package. make
// test installs those that are missing.
//
//go:embed peers.txt
var peers string

// asServer is set in the environment of a test program that is to be a server: see
// testedServer.
const asServer = "SMIMEA_TEST_SERVER"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	order := dnsserver.Directives
	if err := dnsserver.SetDirectives(slices.Insert(slices.Clone(order), slices.Index(order, "dnssec"), "smimea")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if denied := os.Getenv(asDenied); denied != "" {
		fmt.Fprintln(os.Stderr, runDenied(denied, os.Args[1:]))
		return 1
	}
	if os.Getenv(asServer) != "" {
		coremain.Run()
		return 0
	}
	// Debian has its daemons in /usr/sbin, which is not on every PATH.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var missing []string
	for line := range strings.Lines(peers) {
		program, pkg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (apt package %s)", program, pkg))
		}
	}
	if missing != nil {
		fmt.Fprintf(os.Stderr, "these tests need %s; make test installs them\n", strings.Join(missing, ", "))
		return 1
	}

	caddy.Quiet, dnsserver.Quiet = true, true
	clog.Discard()

	var err error
	if scratch, err = os.MkdirTemp("", "smimea-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}
