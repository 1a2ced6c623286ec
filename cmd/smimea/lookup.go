package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
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

// resolverFlags say whom to ask, and whom to believe.
type resolverFlags struct {
	server  string
	anchor  list
	trustAD bool
	timeout time.Duration
}

func (o *resolverFlags) define(f *flag.FlagSet) {
	f.StringVar(&o.server, "server", "", "`ADDR[:PORT]`, tls://HOST or https://HOST/PATH of the resolver or name server to ask (default the system's resolvers, in turn)")
	f.Var(&o.anchor, "anchor", "`FILE` of DNSKEY or DS records to trust, may be repeated (default the root's keys)")
	f.BoolVar(&o.trustAD, "trust-ad", false, "believe the server's AD flag, in place of validating; for servers on this machine, tls:// and https:// only")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "`DURATION` after which to give up")
}

// context ends with the time-out, or when the user interrupts. A second interrupt ends
// the program, as it does where nobody listens.
func (o *resolverFlags) context() (context.Context, context.CancelFunc) {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(interrupted, stop)
	ctx, cancel := context.WithTimeout(interrupted, o.timeout)
	return ctx, func() { cancel(); stop() }
}

func (o *resolverFlags) serverToAsk() (*discover.Server, error) {
	if o.server == "" {
		server, err := discover.SystemServer()
		if err != nil {
			return nil, fail(exitTryAgain, err)
		}
		return server, nil
	}
	server, err := discover.ParseServer(o.server)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	return server, nil
}

func (o *resolverFlags) anchors() (dnssec.Anchors, error) {
	if len(o.anchor) == 0 {
		return dnssec.RootAnchors(), nil
	}
	all := dnssec.Anchors{}
	for _, path := range o.anchor {
		file, err := os.Open(path)
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		anchors, err := dnssec.ReadAnchors(file)
		file.Close()
		if err != nil {
			return nil, fail(exitUsage, fmt.Errorf("reading %q: %w", path, err))
		}
		for name, records := range anchors {
			all[name] = append(all[name], records...)
		}
	}
	return all, nil
}

func (o *resolverFlags) resolver() (discover.Resolver, error) {
	server, err := o.serverToAsk()
	if err != nil {
		return nil, err
	}
	if o.trustAD {
		resolver, err := discover.TrustAD(server)
		if err != nil {
			return nil, fail(exitUsage, err)
		}
		return resolver, nil
	}
	anchors, err := o.anchors()
	if err != nil {
		return nil, err
	}
	return &dnssec.Validator{Exchange: server.Exchange, Anchors: anchors}, nil
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
	if c.Roots, err = readRoots(u, o.roots); err != nil {
		return 0, err
	}
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
func readRoots(u *ui, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(exitNoInput, err)
	}
	pool, unused := certsource.ReadRoots(data)
	for _, what := range unused {
		u.warn("%s: not used: %s", path, what)
	}
	if pool == nil {
		return nil, fail(exitUsage, fmt.Errorf("%q has no certificate of an authority that can be used", path))
	}
	return pool, nil
}

// lookupJSON is what -json prints.
type lookupJSON struct {
	Schema       string            `json:"schema"` // smimea-lookup/1
	Address      string            `json:"address"`
	Verdict      string            `json:"verdict"`
	Code         string            `json:"code"`
	Why          string            `json:"why"`
	Exit         int               `json:"exit"`
	Certificates []certificateJSON `json:"certificates"`
	SMIMEA       lookedUpJSON      `json:"smimea"`
	TXT          lookedUpJSON      `json:"txt"`
	Downloads    []downloadJSON    `json:"downloads"`
	Expires      *time.Time        `json:"expires,omitempty"`
	Suggestion   string            `json:"suggestion,omitempty"`
}

type certificateJSON struct {
	PEM         string    `json:"pem"`
	Source      string    `json:"source"`
	Addresses   []string  `json:"addresses"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Encrypts    bool      `json:"encrypts"`
	Signs       bool      `json:"signs"`
	Match       string    `json:"match,omitempty"`
	Association string    `json:"association,omitempty"`
	Problems    []string  `json:"problems"`
	Codes       []string  `json:"codes"`   // of the problems, in their order
	Issuers     []string  `json:"issuers"` // PEM, the nearest first
	Untrusted   string    `json:"chain,omitempty"`
	Revocation  string    `json:"revocation,omitempty"`
}

type lookedUpJSON struct {
	Name     string   `json:"name,omitempty"`
	Security string   `json:"security"`
	Code     string   `json:"code,omitempty"`
	Error    string   `json:"error,omitempty"`
	Records  []string `json:"records"`
	Aliases  []string `json:"aliases,omitempty"`
}

type downloadJSON struct {
	URL       string   `json:"url"`
	MediaType string   `json:"media_type,omitempty"`
	Moved     []string `json:"moved,omitempty"`
	Code      string   `json:"code,omitempty"`
	Error     string   `json:"error,omitempty"`
}

func lookupResult(r *discover.Result, status int) lookupJSON {
	result := lookupJSON{
		Schema: "smimea-lookup/1", Address: r.Address.String(), Verdict: string(r.Verdict), Code: string(r.Why.Code), Why: r.Why.Text, Exit: status,
		Certificates: []certificateJSON{}, SMIMEA: lookedUp(r.SMIMEA), TXT: lookedUp(r.TXT), Downloads: []downloadJSON{},
		Suggestion: r.Suggestion,
	}
	if !r.Expires.IsZero() {
		result.Expires = &r.Expires
	}
	for _, c := range r.Certificates {
		result.Certificates = append(result.Certificates, certificateJSON{
			PEM: string(pemOf(c.Raw)), Source: c.Source, Addresses: orEmpty(c.Addresses), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			Encrypts: c.Encrypts, Signs: c.Signs, Match: string(c.Match), Association: c.Association,
			Problems: []string{}, Codes: []string{}, Issuers: []string{}, Untrusted: c.Untrusted, Revocation: c.Revocation,
		})
		line := &result.Certificates[len(result.Certificates)-1]
		for _, der := range c.Chain {
			line.Issuers = append(line.Issuers, string(pemOf(der)))
		}
		for _, p := range c.Problems {
			line.Problems, line.Codes = append(line.Problems, p.Text), append(line.Codes, string(p.Code))
		}
	}
	for _, d := range r.Downloads {
		result.Downloads = append(result.Downloads, downloadJSON{d.URL, d.MediaType, d.Moved, errorCode(d.Err), errorText(d.Err)})
	}
	return result
}

func lookedUp(r discover.Records) lookedUpJSON {
	return lookedUpJSON{r.Name, r.Security.String(), errorCode(r.Err), errorText(r.Err), orEmpty(r.Data), r.Aliases}
}

// errorCode is the code of an error that discover gave one.
func errorCode(err error) string {
	var p discover.Problem
	errors.As(err, &p)
	return string(p.Code)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// orEmpty makes an empty list [] in JSON, not null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
