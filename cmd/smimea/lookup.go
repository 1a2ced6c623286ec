package main

import (
	"encoding/pem"
	"flag"
	"fmt"
	"os"

	"coredns-smimea/certsource"
	"coredns-smimea/discover"
	"coredns-smimea/smimea"
)

var lookupVerb = verb{
	name:     "lookup",
	synopsis: "ADDRESS",
	summary:  "somebody's certificate, and how far it can be trusted",
	help: `
Looks for the S/MIME certificate of a mail address: the TXT record with its URL,
the download, the SMIMEA records (RFC 8162), and the verdict. The certificate
goes to stdout as PEM, or into the file of -o, and the story to stderr.

  smimea lookup hugh@example.com
  smimea lookup -o hugh.pem -for encrypt hugh@example.com && mail...

All records are validated here, from the root's keys or those of -anchor,
whoever brings them. The exit status says how it went:

  0   verified: the certificate is the one that signed records name
  1   there is none, and the domain says so, signed
  3   not verified: the zone is not signed, or has no SMIMEA records; nothing
      is printed if nothing was found
  64  the command line is wrong
  65  found, and wrong: not what the records name, expired, revoked, or of
      another address; it is not printed. Or the TXT record leads, for good, to no
      certificate
  75  try again: servers fail, or answers are forged. This never means that
      there is no certificate
`,
	setup: func(f *flag.FlagSet) action {
		o := lookupOptions{}
		o.define(f)
		f.StringVar(&o.out, "o", "", "`FILE` to write the certificate to, in place of stdout")
		f.BoolVar(&o.chain, "chain", false, "write its issuers' certificates, too, behind it, as far as they were found")
		f.StringVar(&o.purpose, "for", "", "`PURPOSE`: encrypt or sign, to leave out certificates for the other")
		f.BoolVar(&o.allowPrivate, "allow-private", false, "let downloads go to private addresses, too")
		f.BoolVar(&o.revocation, "revocation", false, "ask the issuers whether certificates are revoked")
		f.StringVar(&o.roots, "roots", "", "`FILE` of certificates of the authorities to trust, in place of the system's")
		return func(u *ui, operands []string) (exit, error) { return lookup(u, operands, &o) }
	},
}

type lookupOptions struct {
	resolverFlags
	out, purpose, roots      string
	allowPrivate, revocation bool
	chain                    bool
}

func lookup(u *ui, operands []string, o *lookupOptions) (exit, error) {
	if len(operands) != 1 {
		return 0, usageError("one address is wanted")
	}
	address, err := smimea.ParseAddress(operands[0])
	if err != nil {
		return 0, fail(exitUsage, fmt.Errorf("reading %q: %w", operands[0], err))
	}
	c := &discover.Client{Purpose: discover.Purpose(o.purpose), AllowPrivate: o.allowPrivate, Revocation: o.revocation}
	if c.Purpose != discover.Any && c.Purpose != discover.Encrypt && c.Purpose != discover.Sign {
		return 0, usageError("-for takes encrypt or sign")
	}
	roots, err := readRoots(u, o.roots)
	if err != nil {
		return 0, err
	}
	c.Roots = roots.Pool()
	if c.Resolver, err = o.resolver(); err != nil {
		return 0, err
	}
	if !u.json {
		c.Story = func(step string) { u.say("%s", step) }
	}
	ctx, stop := o.context()
	defer stop()

	r := c.Lookup(ctx, address)
	status := lookupExit(r.Verdict)
	if !u.json {
		u.verdict(r)
		if o.server == "" && !o.trustAD && r.Why.Code == discover.Bogus {
			u.say("many resolvers do not pass on signatures; -server names another one")
		}
	}
	var found *discover.Certificate
	if len(r.Certificates) > 0 && (status == exitOK || status == exitUnverified) {
		found = r.Certificates[0]
	}
	if found != nil && o.out != "" {
		if err := os.WriteFile(o.out, o.pem(found), 0o644); err != nil {
			return 0, fail(exitCannotWrite, err)
		}
	}
	switch {
	case u.json:
		return status, u.emit(lookupResult(r, int(status)))
	case found != nil && o.out == "":
		u.print("%s", o.pem(found))
	}
	return status, nil
}

var verdictColours = map[discover.Verdict]colour{
	discover.Verified: green, discover.None: yellow, discover.Unverified: yellow, discover.Wrong: red, discover.Unknown: red,
}

// verdict ends the story of a look-up.
func (u *ui) verdict(r *discover.Result) {
	word := paint(u.errColours, verdictColours[r.Verdict], string(r.Verdict))
	fmt.Fprintf(u.stderr, "smimea: %s: %s\n", word, printable(r.Why.Text))
}

func lookupExit(v discover.Verdict) exit {
	switch v {
	case discover.Verified:
		return exitOK
	case discover.None:
		return exitNone
	case discover.Unverified:
		return exitUnverified
	case discover.Wrong:
		return exitWrong
	}
	return exitTryAgain
}

// pem is what is written of a certificate: the leaf first, then issuers upwards (RFC
// 8555 section 9.1).
func (o *lookupOptions) pem(c *discover.Certificate) []byte {
	text := pemOf(c.Raw)
	if o.chain {
		for _, der := range c.Chain {
			text = append(text, pemOf(der)...)
		}
	}
	return text
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// readRoots reads a file of certificates. Without one, the system's count. What is not
// used of it is said.
func readRoots(u *ui, path string) (*certsource.Roots, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(exitNoInput, err)
	}
	roots := &certsource.Roots{}
	used, unused := roots.Read(data)
	for _, what := range unused {
		u.warn("%s: not used: %s", path, what)
	}
	if used == 0 {
		return nil, fail(exitUsage, fmt.Errorf("%q has no certificate of an authority that can be used", path))
	}
	return roots, nil
}
