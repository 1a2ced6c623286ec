package discover

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"

	"coredns-smimea/certsource"
)

// Limits of a chain, and of asking for what is missing in it.
const (
	maxChain     = 8  // issuers of one certificate
	maxIssuers   = 4  // downloads of one look-up
	maxIssuerURL = 2  // of one certificate
	maxVerified  = 64 // signatures that are verified to find issuers
)

// findIssuers asks for the issuers of certificates that do not chain to anything known,
// where these say that they can be had (caIssuers, RFC 5280 section 4.2.2.1).
func (l *lookup) findIssuers(ctx context.Context) {
	all := ctx
	if l.known() {
		limited, cancel := context.WithTimeout(ctx, extraTime)
		defer cancel()
		all = limited
	}
	for _, c := range l.chained() {
		for c.usable() && c.parsed != nil && c.issuer == nil && all.Err() == nil {
			top, path := c.parsed, l.path(c)
			if len(path) > 0 {
				top = path[len(path)-1].parsed
			}
			if bytes.Equal(top.RawIssuer, top.RawSubject) || len(path) == maxChain || !l.askIssuer(all, top) {
				break
			}
			l.chain(ctx)
		}
	}
}

// askIssuer asks the places that a certificate names for its issuer's, until one has it.
func (l *lookup) askIssuer(ctx context.Context, of *x509.Certificate) bool {
	places, issuer := of.IssuingCertificateURL, of.RawIssuer
	for _, place := range places[:min(len(places), maxIssuerURL)] {
		if l.asked++; l.asked > maxIssuers || l.tried[place] {
			continue
		}
		l.tried[place] = true
		certs, err := l.issuersAt(ctx, place)
		if err != nil {
			l.tell("issuer: %s: %v", place, err)
			continue
		}
		before := len(l.authorities[string(issuer)])
		for _, der := range certs[:min(len(certs), maxAuthorities)] {
			l.addAuthority(der)
		}
		if len(l.authorities[string(issuer)]) > before {
			l.tell("issuer: %s has its certificate", place)
			return true
		}
		l.tell("issuer: %s has not its certificate", place)
	}
	return false
}

// issuersAt downloads certificates by HTTP: what vouches for them is that they have
// issued others.
func (c *Client) issuersAt(ctx context.Context, place string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	u, err := url.Parse(place)
	for hops := 0; ; hops++ {
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
			return nil, Problem{BadURL, "it is no http URL"}
		case hops > maxRedirects:
			return nil, Problem{TooManyHops, fmt.Sprintf("it redirects more than %d times", maxRedirects)}
		}
		got, err := c.ask(ctx, request{method: http.MethodGet, url: u, limit: maxBody, header: http.Header{}})
		if err != nil {
			return nil, err
		}
		if got.moved == nil {
			certs, _ := certsource.ReadAll(got.body)
			if len(certs) == 0 {
				return nil, Problem{NoCertificate, "no certificate is in it"}
			}
			return certs, nil
		}
		u = got.moved
	}
}

// path returns the issuers of a certificate, of those that were found, the nearest
// first: each has issued the one before. The one at the top can be a root.
func (l *lookup) path(c *Certificate) (path []*authority) {
	if c.parsed == nil {
		return nil
	}
	for at := c.parsed; len(path) < maxChain && !bytes.Equal(at.RawIssuer, at.RawSubject); {
		var next *authority
		for _, a := range l.authorities[string(at.RawIssuer)] {
			if l.hasIssued(a, at.Raw, at.CheckSignatureFrom) {
				next = a
				break
			}
		}
		if next == nil {
			break
		}
		path, at = append(path, next), next.parsed
	}
	return path
}

// hasIssued verifies each signature once.
func (l *lookup) hasIssued(a *authority, der []byte, check func(*x509.Certificate) error) bool {
	key := string(a.parsed.Raw) + string(der)
	err, known := l.verified[key]
	if !known {
		if len(l.verified) == maxVerified {
			return false
		}
		err = check(a.parsed)
		l.verified[key] = err
	}
	return err == nil
}

// report notes the chains of certificates: the issuers, without roots.
func (l *lookup) report() {
	for _, c := range l.chained() {
		c.Chain, c.Issuer = nil, nil
		for i, a := range l.path(c) {
			if i == 0 {
				c.Issuer = a.parsed.Raw
			}
			if !bytes.Equal(a.parsed.RawIssuer, a.parsed.RawSubject) {
				c.Chain = append(c.Chain, a.parsed.Raw)
			}
		}
	}
}

// chained are the certificates that are held against chains: the best.
func (l *lookup) chained() []*Certificate {
	return l.Certificates[:min(len(l.Certificates), maxChained)]
}
