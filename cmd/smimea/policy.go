package main

import (
	"crypto/x509"
	"flag"
	"fmt"
	"time"

	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// A policy is how certificates are published: the directive's options.
type policy struct {
	records []smimea.Association
	url     smimea.URLTemplate // zero: no TXT
	ttl     time.Duration
	lower   bool           // under the lower-case form of the local-part, too
	roots   *x509.CertPool // nil: whatever they chain to
	now     time.Time
}

// policyFlags are the flags that a policy is made from.
type policyFlags struct {
	records            records3
	url, casing, roots string
	ttl                time.Duration
}

func (o *policyFlags) define(f *flag.FlagSet) {
	f.Var(&o.records, "record", "`\"USAGE SELECTOR MATCHING\"` of the SMIMEA records, may be repeated (default \"3 1 1\")")
	f.StringVar(&o.url, "url", "https://{domain}/.well-known/smime/{file}", "`TEMPLATE` of the URL in the TXT records, with {domain}, {file}, {hash}, or off")
	f.DurationVar(&o.ttl, "ttl", time.Hour, "`DURATION` for which records can be cached; a certificate is left out that long before its end")
	f.StringVar(&o.casing, "case", "lower", "`FORMS`: lower, to publish under the lower-case local-part too, or exact")
	f.StringVar(&o.roots, "roots", "", "`FILE` of authorities that certificates must chain to")
}

func (o *policyFlags) policy(u *ui) (*policy, error) {
	p := &policy{records: o.records, ttl: o.ttl, lower: o.casing == "lower", now: time.Now()}
	if len(p.records) == 0 {
		p.records = []smimea.Association{{Usage: smimea.UsageDANEEE, Selector: smimea.SelectorSPKI, Matching: smimea.MatchingSHA256}}
	}
	switch {
	case o.ttl < time.Second || o.ttl > maxTTL || o.ttl%time.Second != 0:
		return nil, usageError(fmt.Sprintf("the ttl %v is not whole seconds from 1s to %v", o.ttl, maxTTL))
	case o.casing != "lower" && o.casing != "exact":
		return nil, usageError(fmt.Sprintf("unknown -case %q: want lower or exact", o.casing))
	}
	var err error
	if o.url != "off" {
		if p.url, err = smimea.ParseURLTemplate(o.url); err != nil {
			return nil, fail(exitUsage, err)
		}
	}
	p.roots, err = readRoots(u, o.roots)
	return p, err
}

// publication is what a file publishes at each of its addresses, but the URL.
func (p *policy) publication(f sourceFile, id uint32) zone.Publication {
	publication := zone.Publication{File: id, Lower: p.lower}
	for _, a := range p.records {
		publication.Certs = append(publication.Certs, a.Append(nil, f.cert.Raw, f.cert.SPKI))
	}
	return publication
}

// urlOf is the URL at an address, "" if there is none: a TXT record is an
// invitation to encrypt.
func (p *policy) urlOf(f sourceFile, a smimea.Address) string {
	if !f.cert.Encrypts {
		return ""
	}
	return p.url.Expand(a.Domain, f.path, a.Label())
}
