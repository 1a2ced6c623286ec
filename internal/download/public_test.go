package download

import (
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::7f00:1": false,
		// What IANA's registries have besides, and what a resolver can be made to give out.
		"3fff::1": false, "3fff:fff::1": false, "4000::1": false, "5f00::1": false, "::ffff:0:7f00:1": false, "64:ff9b:1::1": false,
		"100::1": false, "100:0:0:1::1": false, "2001::1": false, "2001:20::1": false, "2001:db8::1": false, "fec0::1": false, "192.0.0.170": false,
		"198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "192.88.99.1": false, "2620:4f:8000::1": true, "2a00:1450::1": true, "1.1.1.1": true,
	} {
		if got := Public(netip.MustParseAddr(text)); got != want {
			t.Errorf("Public(%s) = %v", text, got)
		}
	}
}
