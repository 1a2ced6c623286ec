package dnssec

import (
	"errors"
	"fmt"
	"io"

	"github.com/miekg/dns"
)

// Anchors are DS or DNSKEY records that are trusted as they are, by zone.
type Anchors map[string][]dns.RR

// rootAnchors are the key signing keys of the root: KSK-2017 and KSK-2024, as
// IANA publishes them (data.iana.org/root-anchors/root-anchors.xml).
var rootAnchors = []string{
	". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
	". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
}

// RootAnchors returns the keys of the root.
func RootAnchors() Anchors {
	a := Anchors{}
	for _, text := range rootAnchors {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err) // a constant of this package is wrong
		}
		a["."] = append(a["."], rr)
	}
	return a
}

// ReadAnchors reads DS and DNSKEY records in the form of a zone file. Keys that
// are not of a zone, or revoked (RFC 5011), are refused: none of them can sign.
func ReadAnchors(r io.Reader) (Anchors, error) {
	a := Anchors{}
	parser := dns.NewZoneParser(r, ".", "")
	parser.SetDefaultTTL(3600)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		switch rr := rr.(type) {
		case *dns.DS:
		case *dns.DNSKEY:
			if !usable(rr) {
				return nil, fmt.Errorf("the key %d of %s cannot sign: it is revoked, or not a zone's", rr.KeyTag(), rr.Hdr.Name)
			}
		default:
			return nil, fmt.Errorf("a trust anchor is DS or DNSKEY, not %s", dns.Type(rr.Header().Rrtype))
		}
		name, err := canonical(rr.Header().Name)
		if err != nil {
			return nil, err
		}
		a[name] = append(a[name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("reading trust anchors: %w", err)
	}
	if len(a) == 0 {
		return nil, errors.New("there is no trust anchor")
	}
	return a, nil
}

// closest returns the zone of the anchor that is closest above name, or at it.
func (a Anchors) closest(name string) (string, bool) {
	for zone := range upwards(name) {
		if len(a[zone]) > 0 {
			return zone, true
		}
	}
	return "", false
}
