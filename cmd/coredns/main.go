// Command coredns is the stock CoreDNS, all its plugins included, with smimea
// added: a drop-in for the coredns of the release that go.mod names.
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/core/plugin" // all plugins of stock CoreDNS
	"github.com/coredns/coredns/coremain"

	_ "coredns-smimea/plugin"
)

func main() {
	order, err := withSMIMEA(dnsserver.Directives)
	if err == nil {
		err = dnsserver.SetDirectives(order)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		os.Exit(1)
	}
	nameVersion()
	tellSystemd()
	coremain.Run()
}

// withSMIMEA returns the order of directives with smimea directly before dnssec.
//
// A directive earlier in the order sees a query earlier. smimea stands before
// dnssec because it has its denials signed itself: those of dnssec list types that
// are not there and leave out SMIMEA. It stands after acl, cache and header, which
// are to work on its answers.
func withSMIMEA(order []string) ([]string, error) {
	if slices.Contains(order, "smimea") {
		return nil, fmt.Errorf("directive smimea is in CoreDNS's own list already")
	}
	i := slices.Index(order, "dnssec")
	if i < 0 {
		return nil, fmt.Errorf("CoreDNS has no directive dnssec to put smimea before")
	}
	return slices.Insert(slices.Clone(order), i, "smimea"), nil
}
