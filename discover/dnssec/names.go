package dnssec

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// canonical returns a name in lower case and with the escapes that miekg/dns
// makes, so that equal names are equal strings.
func canonical(name string) (string, error) {
	wire, err := pack(name)
	if err != nil {
		return "", err
	}
	name, _, err = dns.UnpackDomainName(wire, 0)
	if err != nil {
		return "", fmt.Errorf("reading the name %q: %w", name, err)
	}
	return name, nil
}

// pack returns the wire form of a name in lower case.
func pack(name string) ([]byte, error) {
	wire := make([]byte, 256)
	n, err := dns.PackDomainName(dns.Fqdn(name), wire, 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("reading the name %q: %w", name, err)
	}
	// Length octets are below 64, so that no capital letter is one.
	return lowerASCII(wire[:n]), nil
}

// lowerASCII folds octets, in place: bytes.ToLower would fold other letters than
// A to Z, too.
func lowerASCII(wire []byte) []byte {
	for i, c := range wire {
		if c >= 'A' && c <= 'Z' {
			wire[i] = c + 'a' - 'A'
		}
	}
	return wire
}

// compare orders names canonically (RFC 4034 section 6.1): by their labels from
// the right.
func compare(a, b string) int {
	la, lb := octetLabels(a), octetLabels(b)
	for i := 1; i <= len(la) && i <= len(lb); i++ {
		if c := bytes.Compare(la[len(la)-i], lb[len(lb)-i]); c != 0 {
			return c
		}
	}
	return len(la) - len(lb)
}

func octetLabels(name string) [][]byte {
	wire, err := pack(name)
	if err != nil {
		return nil
	}
	var labels [][]byte
	for len(wire) > 0 && wire[0] != 0 {
		end := 1 + int(wire[0])
		labels = append(labels, wire[1:end])
		wire = wire[end:]
	}
	return labels
}

// ancestor returns the name of the last n labels of name.
func ancestor(name string, n int) string {
	labels := dns.SplitDomainName(name)
	if n >= len(labels) {
		return name
	}
	return dns.Fqdn(strings.Join(labels[len(labels)-n:], "."))
}

// isBelow reports whether name is in the tree under parent, and not parent.
func isBelow(parent, name string) bool {
	return parent != name && dns.IsSubDomain(parent, name)
}

// find returns the records of one name and type.
func find(rrs []dns.RR, name string, rrtype uint16) []dns.RR {
	var set []dns.RR
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype == rrtype && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name {
			set = append(set, rr)
		}
	}
	return set
}

// findAncestor returns the records of one type at the closest name above name
// that has any.
func findAncestor(rrs []dns.RR, name string, rrtype uint16) []dns.RR {
	for n := dns.CountLabel(name) - 1; n >= 0; n-- {
		if set := find(rrs, ancestor(name, n), rrtype); len(set) > 0 {
			return set
		}
	}
	return nil
}

// findSignatures returns the signatures of a record set.
func findSignatures(rrs []dns.RR, name string, covered uint16) []*dns.RRSIG {
	var sigs []*dns.RRSIG
	for _, rr := range find(rrs, name, dns.TypeRRSIG) {
		if sig, ok := rr.(*dns.RRSIG); ok && sig.TypeCovered == covered {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}
