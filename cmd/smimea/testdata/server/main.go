// Command server is CoreDNS with what the scripts of cmd/smimea need of it. It
// is built by their test, which is to be a small program itself: each script
// runs it many times.
package main

import (
	"log"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/dnssec"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"

	_ "coredns-smimea/plugin"
)

func main() {
	if err := dnsserver.SetDirectives([]string{"bind", "errors", "smimea", "dnssec", "file"}); err != nil {
		log.Fatal(err)
	}
	coremain.Run()
}
