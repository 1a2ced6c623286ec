package main

import (
	"flag"
	"fmt"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/smimea"
)

// A policy is how certificates are published: the directive's options.
type policy struct {
	smimea.Policy
	ttl   time.Duration
	roots *certsource.Roots // nil: whatever they chain to
	now   time.Time
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
	durationVar(f, &o.ttl, "ttl", time.Hour, "`DURATION` for which records can be cached; a certificate is left out that long before its end (default 1h)")
	f.StringVar(&o.casing, "case", "lower", "`FORMS`: lower, to publish under the lower-case local-part too, or exact")
	f.StringVar(&o.roots, "roots", "", "`FILE` of authorities that certificates must chain to")
}

func (o *policyFlags) policy(u *ui) (*policy, error) {
	p := &policy{Policy: smimea.Policy{Records: o.records, Lower: o.casing == "lower"}, ttl: o.ttl, now: time.Now()}
	if len(p.Records) == 0 {
		p.Records = []smimea.Association{{Usage: smimea.UsageDANEEE, Selector: smimea.SelectorSPKI, Matching: smimea.MatchingSHA256}}
	}
	switch {
	case o.ttl < time.Second || o.ttl > maxTTL || o.ttl%time.Second != 0:
		return nil, usageError(fmt.Sprintf("the ttl %v is not whole seconds from 1s to %v", o.ttl, maxTTL))
	case o.casing != "lower" && o.casing != "exact":
		return nil, usageError(fmt.Sprintf("unknown -case %q: want lower or exact", o.casing))
	}
	var err error
	if o.url != "off" {
		if p.URL, err = smimea.ParseURLTemplate(o.url); err != nil {
			return nil, fail(exitUsage, err)
		}
	}
	p.roots, err = readRoots(u, o.roots)
	return p, err
}
