package dnssec

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A zone is what is known of one: Secure with its keys, or not with the reason.
type zone struct {
	name     string
	security Security
	why      string
	keys     []*dns.DNSKEY
	// end is set on what has nothing below it: the walk need not go on.
	end bool
	// until is how long this may be remembered.
	until time.Time
}

// walk returns the zone that name is in, as seen from the closest trust anchor:
// it asks for a DS at each label on the way down. Where the way stops being
// secure, the zone says so.
func (s *session) walk(ctx context.Context, name string) (*zone, error) {
	top, ok := s.Anchors.closest(name)
	if !ok {
		return &zone{name: name, security: Indeterminate, why: "there is no trust anchor for " + name}, nil
	}
	at, err := s.zone(top, func() (*zone, error) {
		return s.fetchKeys(ctx, top, s.Anchors[top], s.now.Add(maxAge))
	})
	if err != nil {
		return nil, err
	}
	for n := dns.CountLabel(top) + 1; n <= dns.CountLabel(name); n++ {
		if at.security != Secure || at.end {
			break
		}
		child, parent := ancestor(name, n), at
		if at, err = s.zone(child, func() (*zone, error) { return s.step(ctx, parent, child) }); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// zone returns what is known of the zone at a name, and else finds it out.
func (s *session) zone(name string, find func() (*zone, error)) (*zone, error) {
	if z := s.zones[name]; z != nil {
		return z, nil
	}
	z := s.cache.get(name, s.now)
	if z == nil {
		var err error
		if z, err = find(); err != nil {
			return nil, err
		}
		s.cache.put(name, z, s.now)
	}
	s.zones[name] = z
	return z, nil
}

// step finds out which zone child is in, given its parent's, which is Secure.
func (s *session) step(ctx context.Context, parent *zone, child string) (*zone, error) {
	m, err := s.ask(ctx, child, dns.TypeDS)
	if err != nil {
		return nil, err
	}
	bogus := func(why string) (*zone, error) {
		return &zone{name: child, security: Bogus, why: why}, nil
	}
	until := earlier(parent.until, freshUntil(m, s.now))
	same := *parent
	same.until = until
	if ds := find(m.Answer, child, dns.TypeDS); len(ds) > 0 {
		if _, why := s.verifySet(parent, ds, findSignatures(m.Answer, child, dns.TypeDS)); why != "" {
			return bogus(why)
		}
		return s.fetchKeys(ctx, child, ds, until)
	}
	// An alias is no delegation, and has nothing below it.
	alias := findAncestor(m.Answer, child, dns.TypeDNAME)
	if len(alias) == 0 {
		alias = find(m.Answer, child, dns.TypeCNAME)
	}
	if len(alias) > 0 {
		h := alias[0].Header()
		owner := dns.CanonicalName(h.Name)
		sig, why := s.verifySet(parent, alias, findSignatures(m.Answer, owner, h.Rrtype))
		if why != "" {
			return bogus(why)
		}
		if expanded(sig, owner) {
			if v := s.proveExpansion(parent, m, owner, sig); v.security == Bogus {
				return bogus(v.why)
			}
		}
		same.end = true
		return &same, nil
	}
	d := s.deny(parent, m, child, dns.TypeDS)
	switch d.kind {
	case noData:
		if d.delegation {
			return &zone{name: child, security: Insecure, until: until, why: fmt.Sprintf("%s is delegated without a DS record: it is not signed", child)}, nil
		}
		return &same, nil
	case nameError:
		same.end = true
		return &same, nil
	case optOut:
		return &zone{name: child, security: Insecure, until: until, why: d.why}, nil
	}
	return bogus(d.why)
}

// fetchKeys gets a zone's keys and holds them against what vouches for them: DS
// records of the parent, which are validated, or trust anchors. The vouchers
// hold until then.
func (s *session) fetchKeys(ctx context.Context, name string, vouchers []dns.RR, until time.Time) (*zone, error) {
	z := &zone{name: name, until: until}
	vouchers, unsupported := supportedVouchers(vouchers)
	if len(vouchers) == 0 {
		z.security = Insecure
		z.why = fmt.Sprintf("%s is signed with nothing that is supported: %s", name, unsupported)
		return z, nil
	}
	m, err := s.ask(ctx, name, dns.TypeDNSKEY)
	if err != nil {
		return nil, err
	}
	z.until = earlier(until, freshUntil(m, s.now))
	set := find(m.Answer, name, dns.TypeDNSKEY)
	sigs := findSignatures(m.Answer, name, dns.TypeDNSKEY)
	z.security = Bogus
	switch {
	case len(set) == 0:
		z.why = fmt.Sprintf("%s has no DNSKEY records, but its parent has DS records", name)
		return z, nil
	case len(sigs) == 0:
		z.why = fmt.Sprintf("the DNSKEY records of %s are not signed", name)
		return z, nil
	}
	var entries, keys []*dns.DNSKEY
	for _, rr := range set {
		key, ok := rr.(*dns.DNSKEY)
		if !ok || !usable(key) {
			continue
		}
		keys = append(keys, key)
		for _, voucher := range vouchers {
			if vouches(voucher, key) {
				entries = append(entries, key)
				break
			}
		}
	}
	if len(entries) == 0 {
		z.why = fmt.Sprintf("no DNSKEY record of %s is the one that its %s records name (%s)", name, dns.Type(vouchers[0].Header().Rrtype), tags(vouchers))
		return z, nil
	}
	if _, z.why = s.verifySet(&zone{name: name, keys: entries}, set, sigs); z.why == "" {
		z.security, z.keys = Secure, keys
	}
	return z, nil
}

func tags(vouchers []dns.RR) string {
	var list []string
	for _, rr := range vouchers {
		switch rr := rr.(type) {
		case *dns.DS:
			list = append(list, fmt.Sprint(rr.KeyTag))
		case *dns.DNSKEY:
			list = append(list, fmt.Sprint(rr.KeyTag()))
		}
	}
	return strings.Join(list, ", ")
}

// supportedVouchers leaves out what we cannot check. DS records with a SHA-1
// digest do not count beside better ones (RFC 4509 section 3).
func supportedVouchers(rrs []dns.RR) (kept []dns.RR, unsupported string) {
	var sha1 []dns.RR
	var left []string
	for _, rr := range rrs {
		switch rr := rr.(type) {
		case *dns.DS:
			switch {
			case !supported(rr.Algorithm):
				left = append(left, algorithmName(rr.Algorithm))
			case rr.DigestType == dns.SHA1:
				sha1 = append(sha1, rr)
			case rr.DigestType == dns.SHA256 || rr.DigestType == dns.SHA384:
				kept = append(kept, rr)
			default:
				left = append(left, fmt.Sprintf("digest type %d", rr.DigestType))
			}
		case *dns.DNSKEY:
			if supported(rr.Algorithm) {
				kept = append(kept, rr)
			} else {
				left = append(left, algorithmName(rr.Algorithm))
			}
		}
	}
	if len(kept) == 0 {
		kept = sha1
	}
	return kept, strings.Join(left, ", ")
}

// supported reports whether signatures of an algorithm are looked at.
func supported(algorithm uint8) bool {
	switch algorithm {
	case dns.RSASHA256, dns.RSASHA512, dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519:
		return true
	}
	return false
}

func algorithmName(algorithm uint8) string {
	if name, ok := dns.AlgorithmToString[algorithm]; ok {
		return name
	}
	return fmt.Sprintf("algorithm %d", algorithm)
}

// usable reports whether a key can sign records of its zone: it is a zone's key
// (RFC 4034 section 2.1.1), and not revoked (RFC 5011 section 2.1).
func usable(key *dns.DNSKEY) bool {
	return key.Flags&dns.ZONE != 0 && key.Flags&dns.REVOKE == 0 && key.Protocol == 3
}

// vouches reports whether a DS or DNSKEY record that is trusted names key.
func vouches(voucher dns.RR, key *dns.DNSKEY) bool {
	switch voucher := voucher.(type) {
	case *dns.DS:
		if voucher.Algorithm != key.Algorithm || voucher.KeyTag != key.KeyTag() {
			return false
		}
		ds := key.ToDS(voucher.DigestType)
		return ds != nil && strings.EqualFold(ds.Digest, voucher.Digest)
	case *dns.DNSKEY:
		return voucher.Algorithm == key.Algorithm && voucher.PublicKey == key.PublicKey
	}
	return false
}
