package discover

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"coredns-smimea/certsource/revocation"
)

// Limits of what a certificate makes us ask.
const (
	maxOCSP   = 32 << 10 // octets
	maxCRL    = 16 << 20
	maxPlaces = 2 // of each kind
)

// checkRevocation asks a certificate's issuer, by OCSP (RFC 6960) or else for
// its list (RFC 5280 section 5). A revoked certificate must not be used; that
// nothing could be learned changes nothing.
func (l *lookup) checkRevocation(ctx context.Context, c *Certificate) {
	status, err := l.revocation(ctx, c)
	switch {
	case err != nil:
		c.Revocation = "unknown: " + err.Error()
	case status != "":
		c.Revocation = "revoked"
		c.problem(Revoked, "the certificate was revoked%s", status)
	default:
		c.Revocation = "good"
	}
	l.tell("revocation: %s", c.Revocation)
}

// revocation returns "" for a certificate that is good, or when it was revoked.
func (l *lookup) revocation(ctx context.Context, c *Certificate) (string, error) {
	if c.parsed == nil {
		return "", errors.New("crypto/x509 cannot read the certificate")
	}
	if len(c.parsed.OCSPServer)+len(c.parsed.CRLDistributionPoints) == 0 {
		return "", errors.New("the certificate does not say where to ask")
	}
	issuer := l.issuerOf(c)
	if issuer == nil {
		return "", errors.New("its issuer's certificate was not found")
	}
	failed := errors.New("no place to ask is an http URL")
	for _, server := range c.parsed.OCSPServer[:min(len(c.parsed.OCSPServer), maxPlaces)] {
		status, err := l.askOCSP(ctx, server, c.parsed, issuer)
		if err == nil {
			return status, nil
		}
		failed = fmt.Errorf("OCSP: %w", err)
	}
	for _, place := range c.parsed.CRLDistributionPoints[:min(len(c.parsed.CRLDistributionPoints), maxPlaces)] {
		status, err := l.askCRL(ctx, place, c.parsed, issuer)
		if err == nil {
			return status, nil
		}
		failed = fmt.Errorf("CRL: %w", err)
	}
	return "", failed
}

// issuerOf returns the certificate of a certificate's issuer.
func (l *lookup) issuerOf(c *Certificate) *x509.Certificate {
	if c.issuer != nil {
		return c.issuer
	}
	if path := l.path(c); len(path) > 0 {
		return path[0].parsed
	}
	return nil
}

func (l *lookup) askOCSP(ctx context.Context, server string, cert, issuer *x509.Certificate) (string, error) {
	question, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return "", err
	}
	body, err := l.plainHTTP(ctx, http.MethodPost, server, question, maxOCSP)
	if err != nil {
		return "", err
	}
	answer, err := ocsp.ParseResponseForCert(body, cert, issuer)
	switch {
	case err != nil:
		return "", err
	case l.now.Before(answer.ThisUpdate) || !answer.NextUpdate.IsZero() && l.now.After(answer.NextUpdate):
		return "", errors.New("the answer is not of today")
	case answer.Status == ocsp.Revoked:
		return " on " + answer.RevokedAt.Format(time.DateOnly), nil
	case answer.Status != ocsp.Good:
		return "", errors.New("the issuer does not know the certificate")
	}
	return "", nil
}

func (l *lookup) askCRL(ctx context.Context, place string, cert, issuer *x509.Certificate) (string, error) {
	body, err := l.plainHTTP(ctx, http.MethodGet, place, nil, maxCRL)
	if err != nil {
		return "", err
	}
	lists, _, err := revocation.Read(body)
	if err != nil {
		return "", err
	}
	var good []revocation.Verified
	for _, list := range lists {
		switch verified, err := revocation.Verify(list, []*x509.Certificate{issuer}); {
		case err != nil:
			return "", err
		case l.now.Before(list.ThisUpdate) || !list.NextUpdate.IsZero() && l.now.After(list.NextUpdate):
			return "", errors.New("the list is not of today")
		default:
			good = append(good, verified)
		}
	}
	if refusal := revocation.NewSet(good).Revoked(cert.Raw); refusal != nil {
		return " " + refusal.Detail, nil
	}
	if !slices.ContainsFunc(lists, (*revocation.List).Complete) {
		return "", errors.New("the list is not of all users' certificates")
	}
	return "", nil
}

// plainHTTP asks over HTTP, as is usual for what is signed itself.
func (c *Client) plainHTTP(ctx context.Context, method, place string, body []byte, limit int64) ([]byte, error) {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("the place to ask is no http URL")
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	r := request{method: method, url: u, body: body, limit: limit, header: http.Header{}}
	if method == http.MethodPost {
		r.header.Set("Content-Type", "application/ocsp-request")
	}
	got, err := c.ask(ctx, r)
	if err == nil && got.moved != nil {
		err = errors.New("the server redirects")
	}
	return got.body, err
}
