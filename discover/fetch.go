package discover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// Limits of one download, as those of Web Key Directories.
const (
	maxBody      = 1 << 20 // octets
	maxRedirects = 5
	maxDownloads = 5 // of one look-up
	downloadTime = 10 * time.Second
)

// A target is a URL to ask.
type target struct {
	url    string
	domain string // the mail domain
	// signed: a signed TXT record has the URL. Others may only lead to hosts
	// of the domain: what vouches for them is that they have its name.
	signed bool
}

// A ContentError is a download that must not be used, or is of no use; asking
// again will not help. Other errors may go away.
type ContentError struct {
	URL    string
	Reason string
}

func (e *ContentError) Error() string { return e.URL + ": " + e.Reason }

func isContent(err error) bool {
	var bad *ContentError
	return errors.As(err, &bad)
}

// download asks all URLs.
func (l *lookup) download(ctx context.Context) {
	if len(l.urls) > maxDownloads {
		l.tell("of %d URLs, only the first %d are asked", len(l.urls), maxDownloads)
		l.urls = l.urls[:maxDownloads]
	}
	for _, t := range l.urls {
		data, mediaType, err := l.fetch(ctx, t)
		var certs [][]byte
		if err == nil {
			if hasPrivateKey(data) {
				l.tell("warning to the owner: %s has a private key in it; it is no secret any more", t.url)
			}
			if certs, err = splitBundle(data); err != nil {
				err = &ContentError{t.url, err.Error()}
			}
		}
		l.Downloads = append(l.Downloads, Download{t.url, mediaType, err})
		if err != nil {
			l.tell("download: %v", err)
			continue
		}
		l.tell("download: %s has %d certificate(s)", t.url, len(certs))
		for _, der := range certs {
			l.add(&certificateBytes{der, t.url})
		}
	}
}

// fetch gets one URL.
func (l *lookup) fetch(ctx context.Context, t target) (data []byte, mediaType string, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	transport := &http.Transport{
		DialContext:            l.dial,
		TLSClientConfig:        &tls.Config{RootCAs: l.WebRoots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	location := t.url
	for hop := 0; ; hop++ {
		if hop > maxRedirects {
			return nil, "", &ContentError{t.url, fmt.Sprintf("it redirects more than %d times", maxRedirects)}
		}
		u, err := url.Parse(location)
		if err != nil {
			return nil, "", &ContentError{t.url, "it leads to something that is no URL"}
		}
		if err := t.allows(u); err != nil {
			return nil, "", err
		}
		body, header, err := get(ctx, transport, u)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", t.url, err)
		}
		if location = header.Get("Location"); location == "" {
			return body, header.Get("Content-Type"), nil
		}
	}
}

// allows refuses where a URL must not lead.
func (t target) allows(u *url.URL) error {
	switch host := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); {
	case u.Scheme != "https":
		return &ContentError{t.url, "it leads away from https"}
	case u.User != nil:
		return &ContentError{t.url, "it has a user in it"}
	case !t.signed && host != t.domain && !strings.HasSuffix(host, "."+t.domain):
		return &ContentError{t.url, fmt.Sprintf("it leads to %s, which is not of %s, and nothing signed says so", host, t.domain)}
	}
	return nil
}

// get asks once, and returns the body; or a header with the Location, made
// absolute, where it has moved.
func get(ctx context.Context, transport *http.Transport, u *url.URL) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "application/pkix-cert, application/pkcs7-mime, */*;q=0.5")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		response.Header.Del("Location")
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		location, err := response.Location()
		if err != nil {
			return nil, nil, &ContentError{u.String(), "it redirects to nowhere"}
		}
		return nil, http.Header{"Location": {location.String()}}, nil
	default:
		return nil, nil, fmt.Errorf("the server says %s", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil {
		// When time is up the transport says goodbye before it hangs up, upon
		// which a server may end a slow body in good order.
		err = ctx.Err()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the body: %w", err)
	}
	if len(data) > maxBody {
		return nil, nil, &ContentError{u.String(), fmt.Sprintf("it has more than %d octets", maxBody)}
	}
	return data, response.Header, nil
}

// dial connects to a host by the addresses that the resolver knows, if they are
// public ones.
func (l *lookup) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	addresses, err := Addresses(ctx, l.Resolver, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", host)
	var d net.Dialer
	for _, address := range addresses {
		if !l.AllowPrivate && !isPublic(address) {
			err = &ContentError{"https://" + hostPort, fmt.Sprintf("its address %s is not a public one", address)}
			continue
		}
		var conn net.Conn
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(address.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Addresses returns the addresses of a host, which can be one itself. A host
// without any is no error; answers that are bogus are.
func Addresses(ctx context.Context, resolver Resolver, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	var list []netip.Addr
	var failed error
	for _, qtype := range []uint16{dns.TypeAAAA, dns.TypeA} {
		a, err := resolver.Lookup(ctx, dns.Fqdn(host), qtype)
		if err != nil {
			failed = err
			continue
		}
		if a.Security < dnssec.Insecure {
			failed = errors.New("the address of " + host + " is " + a.Security.String() + ": " + a.Why)
			continue
		}
		for _, rr := range a.Records {
			var ip net.IP
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A
			case *dns.AAAA:
				ip = rr.AAAA
			}
			if address, ok := netip.AddrFromSlice(ip); ok {
				list = append(list, address.Unmap())
			}
		}
	}
	if len(list) == 0 && failed != nil {
		return nil, failed
	}
	return list, nil
}

// special are addresses that are global unicast ones by their form, but do not
// lead to the Internet (RFC 6890), or lead to another address inside them.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"),
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, prefix := range special {
		if prefix.Contains(a.WithZone("")) {
			return false
		}
	}
	return true
}
