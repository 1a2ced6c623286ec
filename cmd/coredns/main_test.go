package main

import (
	"slices"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
)

// TestPosition holds the place of smimea in the order of directives, and that
// nothing else of the order changes.
func TestPosition(t *testing.T) {
	stock := slices.Clone(dnsserver.Directives)
	got, err := withSMIMEA(dnsserver.Directives)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dnsserver.Directives, stock) {
		t.Error("withSMIMEA changed CoreDNS's own list")
	}
	i := slices.Index(got, "smimea")
	if i < 0 || got[i+1] != "dnssec" {
		t.Fatalf("smimea is not directly before dnssec: %q", got)
	}
	for _, earlier := range []string{"bufsize", "prometheus", "errors", "log", "any", "tsig", "rewrite", "acl", "cache", "header"} {
		if j := slices.Index(got, earlier); j < 0 || j > i {
			t.Errorf("%s is at %d, smimea at %d; want it earlier", earlier, j, i)
		}
	}
	for _, later := range []string{"dnssec", "tls", "minimal", "template", "transfer", "file", "auto", "secondary", "forward"} {
		if j := slices.Index(got, later); j < i {
			t.Errorf("%s is at %d, smimea at %d; want it later", later, j, i)
		}
	}
	if rest := slices.Delete(slices.Clone(got), i, i+1); !slices.Equal(rest, stock) {
		t.Errorf("the rest of the order is not CoreDNS's:\n got %q\nwant %q", rest, stock)
	}
}

func TestPositionRefused(t *testing.T) {
	for _, order := range [][]string{{"cache", "file"}, {"smimea", "dnssec"}} {
		if got, err := withSMIMEA(order); err == nil {
			t.Errorf("withSMIMEA(%q) = %q, want an error", order, got)
		}
	}
}
