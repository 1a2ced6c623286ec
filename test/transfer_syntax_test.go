package test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestTransferErrors holds that what cannot work does not start, and says why.
func TestTransferErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users(t, dir, "example.com")
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	parent := strings.Replace(k.directive, "dnssec {", "dnssec example.com {", 1)
	_, key := newKey(t, t.TempDir(), "example.com.", 257, dns.ECDSAP256SHA256)
	list := filepath.Join(t.TempDir(), "zones")
	writeFile(t, list, "example.com\n")
	empty := filepath.Join(t.TempDir(), "zones")
	writeFile(t, empty, "# none yet\n")
	transfer := "transfer {\nto *\n}"
	sub := "_smimecert.example.com"
	for _, tt := range []struct {
		zones      string
		directives []string
		want       string
	}{
		{sub, []string{smimea(dir, "transfer_signed"), transfer}, "no key"},
		{sub, []string{parent, smimea(dir, "transfer_signed"), transfer}, "no key"},
		{sub, []string{k.directive, smimea(dir, "transfer_signed")}, "no *transfer*"},
		{sub, []string{k.directive, smimea(dir, "transfer_signed\nttl 10m"), transfer}, "3600"},
		{sub, []string{smimea(dir, "transfers 0"), transfer}, "from 1"},
		{sub, []string{smimea(dir, "cds maybe")}, "on or off"},
		{sub, []string{smimea(dir, "catalog catalog.example.org"), transfer}, "name it before the block"},
		{sub + " catalog.example.org", []string{smimea(dir, "catalog catalog.example.org")}, "no *transfer*"},
		{"example.com", []string{smimea(dir, "zones "+list+".none")}, "no such file"},
		{"example.com", []string{smimea(dir, "zones "+empty)}, "no mail domain"},
		{"example.org", []string{smimea(dir, "zones "+list)}, "do not come here"},
		{sub, []string{smimea(dir, "key file "+key)}, "zones FILE"},
		{"example.com", []string{smimea(dir, "zones "+list+"\nkey file "+key+".none")}, "reading a key"},
		{"example.com", []string{k.directive, smimea(dir, "zones "+list+"\nkey file "+key)}, "leave out one"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if out := failProcess(t, "", block(tt.zones, tt.directives...)); !strings.Contains(out, tt.want) {
				t.Errorf("the message does not have %q:\n%s", tt.want, out)
			}
		})
	}
}

// TestRefusedTransfer holds that whoever is refused a transfer is in the log.
func TestRefusedTransfer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users(t, dir, "example.com")
	s := startProcess(t, "", block(strings.Join(subZonesOf, " "), smimea(dir, ""), "transfer {\nto 127.0.0.2\n}"))
	if _, err := transferIn(s.addr, subZonesOf[0], nil, false); err == nil {
		t.Fatal("the transfer is not refused")
	}
	waitFor(t, "a line of it", func() bool {
		return strings.Contains(s.log.String(), "Refusing a transfer of "+subZonesOf[0]+" to 127.0.0.1: *transfer* does not name")
	})
}
