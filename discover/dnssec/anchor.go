package dnssec

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/miekg/dns"

	"coredns-smimea/internal/plaintext"
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

// ReadAnchors reads DS and DNSKEY records in the form of a zone file, such as those
// that dnssec-keygen and dnssec-dsfromkey write, and Unbound's own. Those that nothing
// can ever be verified with are refused: of keys that are not of a zone, or revoked (RFC
// 5011), and zones that have none of a supported algorithm and digest. An error names the line,
// and never has what stands there: it may be another file, with secrets in it.
func ReadAnchors(r io.Reader) (Anchors, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxAnchors+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading trust anchors: %w", err)
	case len(data) > maxAnchors:
		return nil, fmt.Errorf("it is larger than %d octets: name a file of DS or DNSKEY records", maxAnchors)
	}
	text := plaintext.Decode(data)
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	a := Anchors{}
	parser := dns.NewZoneParser(bytes.NewReader(text), ".", "")
	parser.SetDefaultTTL(3600)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name, err := canonical(rr.Header().Name)
		if err != nil {
			return nil, err
		}
		if err := checkAnchor(name, rr); err != nil {
			return nil, err
		}
		a[name] = append(a[name], rr)
	}
	if err := parser.Err(); err != nil {
		where := "a line"
		if line := lineOf.FindStringSubmatch(err.Error()); line != nil {
			where = "line " + line[1]
		}
		return nil, fmt.Errorf("%s is no DS or DNSKEY record in the form of a zone file, as dnssec-keygen writes one: name a file of such records", where)
	}
	for name, rrs := range a {
		if kept, unsupported := supportedVouchers(rrs); len(kept) == 0 {
			return nil, fmt.Errorf("nothing of the trust anchors of %s is supported (%s): name one of another key or digest", name, unsupported)
		}
	}
	if len(a) == 0 {
		return nil, errors.New("there is no trust anchor: name a file of DS or DNSKEY records")
	}
	return a, nil
}

// maxAnchors is the most octets of a file of anchors.
const maxAnchors = 1 << 20

// lineOf finds the number of the line in a [dns.ParseError].
var lineOf = regexp.MustCompile(` at line: ([0-9]+):[0-9]+$`)

// checkAnchor returns why nothing can be verified with a record.
func checkAnchor(zone string, rr dns.RR) error {
	switch rr := rr.(type) {
	case *dns.DS:
		digest, err := hex.DecodeString(rr.Digest)
		if want := map[uint8]int{dns.SHA1: 20, dns.SHA256: 32, dns.SHA384: 48}[rr.DigestType]; err != nil || want > 0 && len(digest) != want {
			return fmt.Errorf("the digest of the DS record %d of %s is not one of type %d: copy it here again, whole", rr.KeyTag, zone, rr.DigestType)
		}
	case *dns.DNSKEY:
		if !usable(rr) {
			return fmt.Errorf("the key %d of %s cannot sign: it is revoked, or not a zone's", rr.KeyTag(), zone)
		}
		if _, err := base64.StdEncoding.DecodeString(rr.PublicKey); err != nil {
			return fmt.Errorf("the DNSKEY record of %s is damaged: copy it here again, whole", zone)
		}
	default:
		return fmt.Errorf("a trust anchor is DS or DNSKEY, not %s", dns.Type(rr.Header().Rrtype))
	}
	return nil
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
