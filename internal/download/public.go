package download

import "net/netip"

// notPublic4 are IPv4 addresses that are global unicast ones by their form, but do
// not lead to the Internet (IANA's IPv4 special-purpose address registry, RFC 6890).
var notPublic4 = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4")

// IANA has given out addresses from 2000::/3 only (IPv6 address space registry).
// All others are local, or have an IPv4 address in them, such as ::ffff:0:0:0/96
// (RFC 2765) and 64:ff9b::/96 (RFC 6052), or are no hosts' (5f00::/16, RFC 9602).
var global6 = netip.MustParsePrefix("2000::/3")

// notPublic6 are addresses within global6 that do not lead to the Internet (IANA's
// IPv6 special-purpose address registry): protocols (2001::/23, with Teredo),
// documentation (RFC 3849, RFC 9637) and 6to4.
var notPublic6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, text := range list {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// Public reports whether an address is one of a host on the Internet.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	special := notPublic4
	if a.Is6() {
		if special = notPublic6; !global6.Contains(a) {
			return false
		}
	}
	for _, prefix := range special {
		if prefix.Contains(a) {
			return false
		}
	}
	return true
}
