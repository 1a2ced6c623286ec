package discover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"coredns-smimea/discover/dnssec"
)

// Limits of one download, as those of Web Key Directories.
const (
	maxBody      = 1 << 20 // octets
	maxRedirects = 5
	maxDownloads = 5 // of one look-up
	downloadTime = 10 * time.Second
	// guessTime is for a place that nothing names, where no SMIMEA record waits for
	// what is there.
	guessTime = 3 * time.Second
	// extraTime is for what could only add to a verdict that is known.
	extraTime = 2 * time.Second
)

// A target is a URL to ask.
type target struct {
	url    string
	domain string // the mail domain
	// signed: a signed TXT record has the URL. Others may only lead to hosts
	// of the domain: what vouches for them is that they have its name.
	signed bool
	limit  time.Duration
}

// targets returns what to ask: the URLs of the TXT records, or, where there are
// none, the place where this project's server would have it.
func (l *lookup) targets() (all []target) {
	urls := l.TXT.Data
	if len(urls) > maxDownloads {
		l.tell("of %d URLs, only the first %d are asked", len(urls), maxDownloads)
		urls = urls[:maxDownloads]
	}
	for _, text := range urls {
		all = append(all, target{text, l.Address.Domain, l.TXT.Security == dnssec.Secure, downloadTime})
	}
	if len(all) > 0 || l.TXT.Err != nil && l.TXT.Name != "" || l.known() {
		return all
	}
	limit := guessTime
	if len(l.associations.records) > 0 {
		limit = downloadTime
	}
	l.guessed = true
	direct := "https://" + l.Address.Domain + testOnlyDirectPort + "/.well-known/smime/" + l.Address.Label() + ".p7c"
	return []target{{direct, l.Address.Domain, false, limit}}
}

// A delivery is what came of one target.
type delivery struct {
	Download
	index int
	bundle
}

// download asks all URLs at the same time. Once the verdict is known, the others
// get a little time more.
func (l *lookup) download(ctx context.Context) {
	targets := l.targets()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hurry := time.NewTimer(extraTime)
	defer hurry.Stop()
	if !l.known() {
		hurry.Stop()
	}
	deliveries := make(chan delivery, len(targets))
	var running sync.WaitGroup
	defer running.Wait()
	for i, t := range targets {
		running.Go(func() { deliveries <- l.fetch(ctx, i, t) })
	}
	l.Downloads = make([]Download, len(targets))
	for range targets {
		var d delivery
		select {
		case d = <-deliveries:
		case <-hurry.C:
			cancel(Problem{NotWaitedFor, "the verdict is known without it"})
			d = <-deliveries
		}
		before := l.known()
		l.Downloads[d.index] = d.Download
		l.take(d)
		if !before && l.known() {
			hurry.Reset(extraTime)
		}
	}
}

// take takes in what a download brought.
func (l *lookup) take(d delivery) {
	if d.Err != nil {
		l.tell("download: %v", d.Err)
		return
	}
	if d.privateKey {
		l.tell("warning to the owner: %s has a private key in it; it is no secret any more", d.URL)
	}
	l.tell("download: %s has %d certificate(s)", d.URL, len(d.certs))
	for _, text := range d.unused {
		l.tell("download: %s: not used: %s", d.URL, text)
	}
	for _, der := range d.certs {
		l.add(der, d.URL)
	}
}

// fetch gets one URL. It touches nothing of the look-up but what is read only.
func (l *lookup) fetch(ctx context.Context, index int, t target) delivery {
	d := delivery{index: index, Download: Download{URL: t.url}}
	limited, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	got, err := l.follow(limited, t)
	d.MediaType, d.Moved, d.TLSEnds = got.mediaType, got.hops, got.tlsEnds
	if err == nil {
		d.bundle, err = readBundle(got.body)
	}
	var p Problem
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.As(context.Cause(ctx), &p):
		d.Err = Problem{p.Code, t.url + ": " + p.Text}
	case ctx.Err() != nil: // whatever the connection says of that
		d.Err = Problem{Interrupted, t.url + ": " + dnssec.Ended(ctx).Error()}
	case limited.Err() != nil:
		d.Err = Problem{Unreachable, fmt.Sprintf("%s: it took longer than %v", t.url, t.limit)}
	case errors.As(err, &p):
		d.Err = Problem{p.Code, t.url + ": " + err.Error()}
	default:
		d.Err = Problem{Unreachable, t.url + ": " + err.Error()}
	}
	return d
}

// A file is what a URL led to in the end.
type file struct {
	page
	hops []string // where it was redirected to
}

// follow gets one URL, over redirects.
func (c *Client) follow(ctx context.Context, t target) (file, error) {
	u, err := url.Parse(t.url)
	if err != nil || u.Hostname() == "" {
		return file{}, Problem{BadURL, "it is no URL"}
	}
	if u.Scheme != "https" {
		return file{}, Problem{BadURL, fmt.Sprintf("it is of the scheme %s, and only https can be asked", u.Scheme)}
	}
	var f file
	for {
		if err := t.allows(u); err != nil {
			return f, redirected(err, f.hops)
		}
		f.page, err = c.ask(ctx, request{
			method: http.MethodGet, url: u, limit: maxBody,
			header: http.Header{"Accept": {"application/pem-certificate-chain, application/pkcs7-mime;q=0.9, application/pkix-cert;q=0.8, */*;q=0.5"}},
		})
		if err != nil || f.moved == nil {
			return f, redirected(err, f.hops)
		}
		if u = f.moved; len(f.hops) == maxRedirects || slices.Contains(f.hops, u.String()) {
			return f, Problem{TooManyHops, fmt.Sprintf("it redirects in a circle, or more than %d times: %s", maxRedirects, strings.Join(append(f.hops, u.String()), ", "))}
		}
		f.hops = append(f.hops, u.String())
	}
}

// redirected says of an error where it happened.
func redirected(err error, hops []string) error {
	if err == nil || len(hops) == 0 {
		return err
	}
	return fmt.Errorf("redirected to %s: %w", hops[len(hops)-1], err)
}

// allows refuses where a URL must not lead.
func (t target) allows(u *url.URL) error {
	switch host := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); {
	case u.Scheme != "https":
		return Problem{AwayFromHTTPS, "it leads away from https"}
	case u.Hostname() == "":
		return Problem{BadURL, "it leads to no host"}
	case u.User != nil:
		return Problem{BadURL, "it has a user in it"}
	case !t.signed && host != t.domain && !strings.HasSuffix(host, "."+t.domain):
		return Problem{ForeignHost, fmt.Sprintf("it leads to %s, which is not of %s, and nothing signed says so", host, t.domain)}
	}
	return nil
}

// testOnlyDirectPort is ":" and a port, for tests, which have no port 443.
var testOnlyDirectPort string
