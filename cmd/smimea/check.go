package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea"
)

var checkVerb = verb{
	name:     "check",
	synopsis: "DIR",
	summary:  "what would be published of a directory, what not, and why",
	help: `
Reads a directory as the server does, and prints for each user the certificates
that would be published, then the files that are left out, with the reason and
the remedy.

  smimea check /etc/smime
  smimea check -q -soon 1440h -lint /etc/smime || mail...

The exit status is 0 if there is nothing to say, 1 if a file is left out or
there is a warning, 64 if the command line is wrong, and 66 if the directory
cannot be read.

-lint holds certificates against the CA/Browser Forum's rules for S/MIME, which
bind public authorities only, and takes longer.
`,
	setup: func(f *flag.FlagSet) action {
		o := checkOptions{}
		o.define(f)
		f.Var(&o.domains, "domain", "mail `DOMAIN` that is served, may be repeated; addresses in others are warned of (default all)")
		durationVar(f, &o.soon, "soon", 30*24*time.Hour, "`DURATION` before its end from which a certificate is warned of, 30d or 720h (default 30d)")
		f.Var(&o.lists, "crl", "`FILE` of a list of revoked certificates, may be repeated")
		f.BoolVar(&o.lint, "lint", false, "check the CA/Browser Forum's rules for S/MIME too")
		f.Var(&o.chain, "chain", "`FILE` of issuers' certificates that users' files need not have, as the server's option chain; may be repeated")
		f.BoolVar(&o.quiet, "q", false, "print only what there is to mend: warnings, and files that are left out")
		return func(u *ui, operands []string) (exit, error) { return check(u, operands, &o) }
	},
}

type checkOptions struct {
	policyFlags
	domains     list
	lists       list
	chain       list
	soon        time.Duration
	lint, quiet bool
}

type checkJSON struct {
	Schema  string       `json:"schema"` // smimea-check/1
	Users   []userJSON   `json:"users"`
	LeftOut []outJSON    `json:"left_out"`
	Summary checkSummary `json:"summary"`
}

type userJSON struct {
	Address   string    `json:"address"`
	Path      string    `json:"path"`
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SMIMEA    string    `json:"smimea"`
	TXT       string    `json:"txt,omitempty"`
	Findings  []finding `json:"findings"`

	encrypts bool // to its key
}

// A finding is something to say about a certificate of a user.
type finding struct {
	Level string `json:"level"` // warning, or note, which does not show in the exit status
	Code  string `json:"code"`
	Text  string `json:"text"`
}

type checkSummary struct {
	Files     int `json:"files"`
	Published int `json:"published"`
	LeftOut   int `json:"left_out"`
	Users     int `json:"users"`
	Warnings  int `json:"warnings"`
}

// A checker collects what there is to say.
type checker struct {
	*checkOptions
	policy *policy
	result checkJSON
	files  int
	// issuers and roots are what chains lead over beside what stands in the files.
	issuers certsource.Issuers
	roots   certsource.Roots
}

func check(u *ui, operands []string, o *checkOptions) (exit, error) {
	if len(operands) != 1 {
		return 0, usageError("one directory is wanted")
	}
	p, err := o.policy(u)
	if err != nil {
		return 0, err
	}
	for i, domain := range o.domains {
		a, err := smimea.ParseAddress("x@" + domain)
		if err != nil {
			return 0, fail(exitUsage, fmt.Errorf("reading the domain %q: %w", domain, err))
		}
		o.domains[i] = a.Domain
	}
	c := &checker{checkOptions: o, policy: p, result: checkJSON{Schema: "smimea-check/1", Users: []userJSON{}, LeftOut: []outJSON{}}}
	if err := c.readChain(u); err != nil {
		return 0, err
	}
	s := source{Options: directory.Options{Roots: p.roots, Margin: p.ttl}, now: p.now, progress: u.progress("checking certificates")}
	if s.Revoked, err = readLists(o.lists, c.authorities(), p.now, func() ([][]byte, error) { return s.issuers(operands) }); err != nil {
		return 0, err
	}
	if err := s.read(operands, c.file); err != nil {
		return 0, err
	}
	c.compare()
	c.count()
	status := exitOK
	if c.result.Summary.LeftOut+c.result.Summary.Warnings > 0 {
		status = exitNone
	}
	if u.json {
		return status, u.emit(c.result)
	}
	c.print(u)
	return status, nil
}

// authorities returns the files of -chain and of -roots.
func (c *checker) authorities() []string {
	if c.checkOptions.roots == "" {
		return c.chain
	}
	return append(slices.Clone(c.chain), c.checkOptions.roots)
}

// readChain reads the files of -chain, and of -roots: here a root ends a chain.
func (c *checker) readChain(u *ui) error {
	for _, file := range c.authorities() {
		data, err := os.ReadFile(file)
		if err != nil {
			return fail(exitNoInput, err)
		}
		used, unused := c.roots.Read(data)
		if used == 0 {
			return fail(exitUsage, fmt.Errorf("%q has no certificate of an authority that can be used", file))
		}
		c.issuers.Read(data)
		if file == c.checkOptions.roots {
			continue // said already
		}
		for _, what := range unused {
			u.warn("%s: not used: %s", file, what)
		}
	}
	return nil
}

// file takes one file in.
func (c *checker) file(f sourceFile) {
	c.files++
	if len(f.certs) == 0 {
		c.result.LeftOut = append(c.result.LeftOut, outJSON{f.path, string(f.refusal.Reason), f.refusal.Error()})
		return
	}
	c.result.Summary.Published += len(f.certs)
	for i := range f.certs {
		c.certificate(f, &f.certs[i], i == 0)
	}
}

// certificate takes one of a file's certificates in. Of the first all is said that is
// to be said of the file.
func (c *checker) certificate(f sourceFile, cert *certsource.Certificate, first bool) {
	key, weak := keyInfo(cert.SPKI)
	common := []finding{}
	warn := func(code, text string) { common = append(common, finding{"warning", code, text}) }
	if left := cert.NotAfter.Sub(c.policy.now); left < c.soon {
		warn("expires", "expires soon: have it renewed")
	}
	if c.policy.now.Before(cert.NotBefore) {
		common = append(common, finding{"note", "early", "not valid yet"})
	}
	if weak != "" {
		warn("weak_key", weak)
	}
	if !cert.InAltName {
		warn("no_san", "the address is in the subject only: have it issued with it as subjectAltName")
	}
	if cert.Dropped > 0 {
		warn("address", fmt.Sprintf("%d of its addresses cannot be used", cert.Dropped))
	}
	if text := c.missing(cert); text != "" {
		common = append(common, finding{"note", "chain", text})
	}
	if c.lint {
		common = append(common, lintCertificate(cert.Raw)...)
	}
	for i, text := range cert.Addresses {
		user := userJSON{Address: text, Path: f.path, Key: key, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Findings: slices.Clone(common), encrypts: cert.Encrypts}
		if first && i == 0 {
			user.Findings = append(user.Findings, unusedFindings(f)...)
		}
		c.address(&user, f, cert)
		c.result.Users = append(c.result.Users, user)
	}
}

// missing says that the certificate of a certificate's issuer is missing; "" if it is
// not.
func (c *checker) missing(cert *certsource.Certificate) string {
	top := cert.Missing(&c.issuers, &c.roots)
	switch {
	case top == nil || !bytes.Equal(top.Raw, cert.Raw):
		return "" // of an issuer's issuer nobody knows whether it is a root
	case len(top.IssuingCertificateURL) == 0 && len(c.chain) == 0:
		return "" // nor of an issuer, where nothing says how it could be had
	case len(top.IssuingCertificateURL) > 0:
		return "its issuer's certificate is missing; the URL that it names (caIssuers) is not asked by every mail program: put the issuer's behind it"
	}
	return "its issuer's certificate is missing, also among those of -chain, and it names no URL of it (caIssuers): unless that is a root, put it behind it"
}

// unusedFindings says what of a file is not published. What can be meant is a note:
// what is no certificate for mail, and what has been renewed.
func unusedFindings(f sourceFile) (findings []finding) {
	for _, unused := range f.unused {
		level, code := "warning", "unused"
		switch unused.Refusal.Reason {
		case certsource.Revoked:
			code = "revoked"
		case certsource.NoCertificate, certsource.Purpose, certsource.Expired:
			level = "note"
		}
		findings = append(findings, finding{level, code, "not published: " + unused.String()})
	}
	return findings
}

// address says how one of a certificate's addresses is published.
func (c *checker) address(user *userJSON, f sourceFile, cert *certsource.Certificate) {
	say := func(level, code, text string) { user.Findings = append(user.Findings, finding{level, code, text}) }
	entry, err := c.policy.Entry(user.Address, f.source(cert))
	if err != nil {
		say("warning", "address", err.Error())
		return
	}
	a := entry.Address
	user.Address = a.String()
	if len(c.domains) > 0 && !slices.Contains(c.domains, a.Domain) {
		say("warning", "other_domain", "the address is not in a domain that is served")
		return
	}
	user.SMIMEA = a.Owner()
	switch {
	case entry.NoText == smimea.ErrSignOnly:
		say("note", "sign_only", "nobody can encrypt to the key: no TXT")
	case entry.NoText != nil:
		say("note", "no_txt", entry.NoText.Error())
	case entry.URL != "":
		user.TXT, _ = a.TextOwner()
	}
}

// compare says where users stand in each other's way.
func (c *checker) compare() {
	users := c.result.Users
	slices.SortFunc(users, func(a, b userJSON) int {
		return cmp.Or(cmp.Compare(domainOf(a.Address), domainOf(b.Address)), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Path, b.Path))
	})
	slices.SortFunc(c.result.LeftOut, func(a, b outJSON) int { return cmp.Compare(a.Path, b.Path) })
	several := map[string]int{}   // certificates by SMIMEA owner
	byText := map[string]string{} // one address by TXT owner
	for _, user := range users {
		several[user.SMIMEA]++
		if user.TXT != "" && (byText[user.TXT] == "" || isLower(user.Address)) {
			byText[user.TXT] = user.Address
		}
	}
	begins := c.renewals()
	for i := range users {
		user := &users[i]
		if user.SMIMEA == "" {
			continue
		}
		if begin, ok := begins[use{user.SMIMEA, user.encrypts}]; ok {
			for j, f := range user.Findings {
				if f.Code == "expires" {
					user.Findings[j] = finding{"note", "expires", "expires soon; its renewal is here"}
					if begin.After(user.NotAfter) {
						user.Findings = append(user.Findings, finding{"warning", "gap", "its renewal begins on " + begin.Format(time.DateOnly) + " only, after its end"})
					}
				}
			}
		}
		if n := several[user.SMIMEA]; n > 1 {
			user.Findings = append(user.Findings, finding{"note", "several", fmt.Sprintf("one of %d certificates of the address", n)})
		}
		if other := byText[user.TXT]; user.TXT != "" && other != user.Address {
			user.Findings = append(user.Findings, finding{"warning", "collision",
				"its TXT owner, in lower case, is that of " + other + " too: senders are led to that certificate"})
		}
	}
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

func isLower(address string) bool { return strings.ToLower(address) == address }

func (c *checker) count() {
	s := &c.result.Summary
	s.Files, s.LeftOut = c.files, len(c.result.LeftOut)
	seen := map[string]bool{}
	for _, user := range c.result.Users {
		seen[user.Address] = true
		for _, f := range user.Findings {
			if f.Level == "warning" {
				s.Warnings++
			}
		}
	}
	s.Users = len(seen)
}

func (c *checker) print(u *ui) {
	rows := [][]string{{"USER", "FILE", "KEY", "VALID UNTIL", "PUBLISHED", ""}}
	for _, user := range c.result.Users {
		if c.quiet && !slices.ContainsFunc(user.Findings, func(f finding) bool { return f.Level == "warning" }) {
			continue
		}
		published := "nothing"
		switch {
		case user.TXT != "":
			published = "SMIMEA TXT"
		case user.SMIMEA != "":
			published = "SMIMEA"
		}
		var texts []string
		for _, f := range user.Findings {
			texts = append(texts, f.Level+": "+f.Text)
		}
		rows = append(rows, []string{user.Address, user.Path, user.Key, user.NotAfter.Format(time.DateOnly), published, strings.Join(texts, "; ")})
	}
	if len(rows) > 1 {
		u.table(rows)
	}
	for _, left := range c.result.LeftOut {
		u.print("%s %s: %s\n", u.paint(red, "left out:"), printable(left.Path), printable(left.Detail))
	}
	s := c.result.Summary
	if c.quiet && len(rows) == 1 && s.LeftOut == 0 {
		return
	}
	paint := green
	if s.LeftOut+s.Warnings > 0 {
		paint = yellow
	}
	if s.Files == 0 {
		u.print("no file is there whose name ends in .pem, .crt, .cer, .der, .p7b or .p7c\n")
	}
	u.print("%s\n", u.paint(paint, fmt.Sprintf("%d files: %d certificates published for %d users, %d left out, %d warnings", s.Files, s.Published, s.Users, s.LeftOut, s.Warnings)))
}
