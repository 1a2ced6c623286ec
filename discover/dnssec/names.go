package dnssec

import (
	"fmt"
	"iter"
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

// A place is where a name is in the canonical order (RFC 4034 section 6.1): its
// labels from the right, each ended by 0. Places compare as octets do, and the
// place of a name begins with those of the names above it.
type place string

// placeOf returns the place of a name; that of the root if it is no name.
func placeOf(name string) place {
	wire, err := pack(name)
	if err != nil {
		return ""
	}
	var labels [128]int // where they begin
	n := 0
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		labels[n] = at
		n++
	}
	key := make([]byte, 0, len(wire)+8)
	for n--; n >= 0; n-- {
		at := labels[n]
		for _, c := range wire[at+1 : at+1+int(wire[at])] {
			if c <= 1 {
				key = append(key, 1) // so that nothing but an end is 0
				c++
			}
			key = append(key, c)
		}
		key = append(key, 0)
	}
	return place(key)
}

// below reports whether a place is in the tree under another, and not it.
func (p place) below(parent place) bool {
	return len(p) > len(parent) && strings.HasPrefix(string(p), string(parent))
}

// within reports whether a place is at another, or below it.
func (p place) within(parent place) bool { return strings.HasPrefix(string(p), string(parent)) }

// ancestor returns the name of the last n labels of name.
func ancestor(name string, n int) string {
	labels := dns.Split(name) // where they begin
	switch {
	case n >= len(labels):
		return name
	case n <= 0:
		return "."
	}
	return name[labels[len(labels)-n]:]
}

// upwards are a name and all names above it, up to the root.
func upwards(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, begin := range dns.Split(name) {
			if !yield(name[begin:]) {
				return
			}
		}
		yield(".")
	}
}

// parentOf returns the name above name; the root is its own.
func parentOf(name string) string { return ancestor(name, dns.CountLabel(name)-1) }

// whereJudged is the name whose zone has the records of a name and type: those
// of a DS are the parent's. The root has no parent, and denies its DS itself.
func whereJudged(name string, qtype uint16) string {
	if qtype == dns.TypeDS {
		return parentOf(name)
	}
	return name
}

// moved returns where a DNAME at owner leads name, which is below it (RFC 6672
// section 2.2); false if that is too long to be a name.
func moved(name, owner, target string) (string, bool) {
	prefix := strings.TrimSuffix(name, owner)
	if owner == "." {
		prefix = name
	}
	if target == "." {
		target = ""
	}
	_, ok := dns.IsDomainName(prefix + target)
	return prefix + target, ok
}
