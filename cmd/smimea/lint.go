package main

import (
	"cmp"
	"slices"
	"sync"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
	"github.com/zmap/zlint/v3/util"
)

// smimeRules are the CA/Browser Forum's Baseline Requirements for S/MIME, as
// zlint has them.
var smimeRules = sync.OnceValues(func() (lint.Registry, error) {
	return lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{lint.CABFSMIMEBaselineRequirements}})
})

// lintCertificate returns what the rules say against a certificate. They bind
// public authorities: for certificates that do not claim to follow them, by one
// of their policies, it is worth a note only.
func lintCertificate(der []byte) []finding {
	rules, err := smimeRules()
	if err != nil {
		return []finding{{"note", "lint", "zlint has no S/MIME rules: " + err.Error()}}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return []finding{{"note", "lint", "zlint cannot read the certificate"}}
	}
	var found []finding
	for name, result := range zlint.LintCertificateEx(cert, rules).Results {
		level := "note"
		switch result.Status {
		case lint.Error, lint.Fatal:
			if util.IsSMIMEBRCertificate(cert) {
				level = "warning"
			}
		case lint.Warn:
		default:
			continue
		}
		text := name
		if rule := rules.CertificateLints().ByName(name); rule != nil {
			text = rule.Description + " (" + rule.Citation + ", " + name + ")"
		}
		found = append(found, finding{level, "lint", text})
	}
	slices.SortFunc(found, func(a, b finding) int { return cmp.Compare(a.Text, b.Text) })
	return found
}
