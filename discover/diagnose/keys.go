package diagnose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
)

// anchors returns the doctor's trust anchors, with a key of the domain, or of one of
// its sub-zones, as anchor of each sub-zone that is signed with it. Before a zone is
// delegated nothing else leads to its key.
func (e *examination) anchors(ctx context.Context) dnssec.Anchors {
	anchors := maps.Clone(e.Anchors)
	domain := e.domain + "."
	places := []string{domain, trees[0].label + "." + domain, trees[1].label + "." + domain}
	var own []*dns.DNSKEY
	for _, place := range places {
		for _, rr := range e.Anchors[place] {
			if key, ok := rr.(*dns.DNSKEY); ok {
				own = append(own, key)
			}
		}
	}
	if len(own) == 0 {
		return anchors
	}
	found := false
	for _, name := range places[1:] {
		if apex, err := discover.Apex(ctx, e.exchange, name); err != nil || apex != name || len(anchors[name]) > 0 {
			continue
		}
		for _, key := range own {
			if e.signedWith(ctx, name, key) {
				renamed := *key
				renamed.Hdr.Name = name
				anchors[name] = append(anchors[name], &renamed)
				found = true
			}
		}
	}
	// The key has the domain's name, but the domain is another's zone.
	if found && !slices.ContainsFunc(own, func(key *dns.DNSKEY) bool { return e.signedWith(ctx, domain, key) }) {
		delete(anchors, domain)
	}
	return anchors
}

// signedWith reports whether a zone has a key, by whatever name.
func (e *examination) signedWith(ctx context.Context, zone string, key *dns.DNSKEY) bool {
	return slices.ContainsFunc(e.keys(ctx, zone), func(k *dns.DNSKEY) bool {
		return k.Algorithm == key.Algorithm && k.PublicKey == key.PublicKey
	})
}

// keys returns a zone's keys, as its servers have them.
func (e *examination) keys(ctx context.Context, zone string) (keys []*dns.DNSKEY) {
	records, err := e.raw(ctx, zone, dns.TypeDNSKEY)
	if err != nil {
		return nil
	}
	for _, rr := range records {
		if key, ok := rr.(*dns.DNSKEY); ok && dns.CanonicalName(key.Hdr.Name) == zone && key.Flags&dns.ZONE != 0 && key.Flags&dns.REVOKE == 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// rightDS returns the DS records that a zone's parent should have: of its keys that
// sign keys.
func (e *examination) rightDS(ctx context.Context, zone string) (right []*dns.DS) {
	keys := e.keys(ctx, zone)
	if slices.ContainsFunc(keys, func(k *dns.DNSKEY) bool { return k.Flags&dns.SEP != 0 }) {
		keys = slices.DeleteFunc(keys, func(k *dns.DNSKEY) bool { return k.Flags&dns.SEP == 0 })
	}
	for _, key := range keys {
		if ds := key.ToDS(dns.SHA256); ds != nil {
			right = append(right, ds)
		}
	}
	return right
}

// publishDS is the remedy of a zone without the right DS record.
func (e *examination) publishDS(ctx context.Context, zone string) string {
	right := e.rightDS(ctx, zone)
	parent := zone[strings.IndexByte(zone, '.')+1:]
	if len(right) == 0 {
		return "sign " + zone + ", and have the DS record of its key published in " + parent
	}
	return "have " + parent + " publish: " + oneLine(right)
}

func oneLine(list []*dns.DS) string {
	var lines []string
	for _, ds := range list {
		lines = append(lines, strings.ReplaceAll(ds.String(), "\t", " "))
	}
	return strings.Join(lines, "; ")
}

// wrongDS says what is wrong with a zone's DS records, if they are of none of its keys.
func (e *examination) wrongDS(ctx context.Context, zone string) (text string) {
	right := e.rightDS(ctx, zone)
	records, err := e.raw(ctx, zone, dns.TypeDS)
	if err != nil || len(records) == 0 || len(right) == 0 {
		return ""
	}
	var wrong []*dns.DS
	for _, rr := range records {
		ds, ok := rr.(*dns.DS)
		if !ok {
			continue
		}
		for _, key := range e.keys(ctx, zone) {
			if of := key.ToDS(ds.DigestType); of != nil && of.KeyTag == ds.KeyTag && of.Algorithm == ds.Algorithm && strings.EqualFold(of.Digest, ds.Digest) {
				return ""
			}
		}
		wrong = append(wrong, ds)
	}
	return fmt.Sprintf("the DS record in the parent is of none of the zone's keys: %s", oneLine(wrong))
}
