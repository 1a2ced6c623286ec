package discover

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"coredns-smimea/internal/download"
)

// A request is one question to a web server.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
	limit  int64 // octets of the answer, once decoded
}

// A page is what a web server answered: a body, or where it has moved.
type page struct {
	body      []byte
	mediaType string
	moved     *url.URL
	tlsEnds   time.Time // when the server's certificate ends
}

// ask asks a web server once. The connection ends with it.
func (c *Client) ask(ctx context.Context, r request) (page, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport, err := c.transport(ctx, r.url)
	if err != nil {
		return page{}, err
	}
	defer transport.CloseIdleConnections()
	q, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), bytes.NewReader(r.body))
	if err != nil {
		return page{}, Problem{BadURL, "it is no URL"}
	}
	if r.header != nil {
		q.Header = r.header
	}
	// Without it a server may use any coding (RFC 9110 section 12.5.3).
	q.Header.Set("Accept-Encoding", "identity")
	response, err := transport.RoundTrip(q)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	var got page
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		got.tlsEnds = response.TLS.PeerCertificates[0].NotAfter
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if got.moved, err = response.Location(); err != nil {
			return got, Problem{BadURL, "it redirects to nowhere"}
		}
		return got, nil
	default:
		return got, Problem{statusCode(response.StatusCode), "the server says " + response.Status}
	}
	got.mediaType = response.Header.Get("Content-Type")
	got.body, err = decoded(response, r.limit)
	if err == nil {
		// When time is up the transport says goodbye before it hangs up, upon
		// which a server may end a slow body in good order.
		err = ctx.Err()
	}
	if err != nil {
		return got, fmt.Errorf("reading the body: %w", err)
	}
	return got, nil
}

// statusCode tells apart that a server says that there is nothing from what may get
// better: a missing permission, say, is mended more often than a page put there.
func statusCode(status int) Code {
	if status == http.StatusNotFound || status == http.StatusGone {
		return NotThere
	}
	return BadStatus
}

// decoded reads a body. Servers compress that were asked not to: gzip and deflate
// (RFC 9110 section 8.4.1) are taken off, the limit holds before and after.
func decoded(response *http.Response, limit int64) ([]byte, error) {
	body := io.Reader(&limited{response.Body, limit})
	var codings []string
	for coding := range strings.SplitSeq(strings.Join(response.Header.Values("Content-Encoding"), ","), ",") {
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			codings = append(codings, coding)
		}
	}
	if len(codings) > 2 {
		return nil, Problem{BadEncoding, fmt.Sprintf("it is compressed %d times over", len(codings))}
	}
	for _, coding := range slices.Backward(codings) {
		var err error
		switch coding {
		case "gzip", "x-gzip":
			body, err = gzip.NewReader(body)
		case "deflate":
			body, err = inflated(body)
		default:
			return nil, Problem{BadEncoding, fmt.Sprintf("it is compressed with %q, which was not asked for", coding)}
		}
		if err != nil {
			return nil, codingError(coding, err)
		}
		body = &limited{body, limit}
	}
	data, err := io.ReadAll(body)
	if err != nil && len(codings) > 0 {
		err = codingError(codings[0], err)
	}
	return data, err
}

// inflated takes deflate off: in zlib's form, as RFC 9110 has it, or bare, as many
// servers do.
func inflated(body io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(body)
	header, err := buffered.Peek(2)
	if err == nil && header[0]&0x0f == 8 && (uint(header[0])<<8|uint(header[1]))%31 == 0 {
		return zlib.NewReader(buffered)
	}
	return flate.NewReader(buffered), nil
}

// codingError tells apart a body that is not what it is said to be from one that
// did not come whole.
func codingError(coding string, err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) {
		err = zlib.ErrHeader
	}
	for _, broken := range []error{gzip.ErrHeader, gzip.ErrChecksum, zlib.ErrHeader, zlib.ErrChecksum, zlib.ErrDictionary} {
		if errors.Is(err, broken) {
			return Problem{BadEncoding, "it is said to be compressed with " + coding + ", and is not, or is damaged"}
		}
	}
	return err
}

// limited fails where a reader has more octets than it should. It is not
// io.LimitReader, which ends there as if nothing were amiss.
type limited struct {
	from io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.from.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, Problem{TooLarge, "it is larger than any certificate file"}
	}
	return n, err
}

// transport returns what connects to a URL's host: directly, or by the proxy of the
// environment. All of it ends with the context.
func (c *Client) transport(ctx context.Context, u *url.URL) (*http.Transport, error) {
	config := &tls.Config{RootCAs: c.WebRoots, MinVersion: tls.VersionTLS12}
	t := &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: downloadTime,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	proxy, err := c.proxyFor(u)
	if err != nil {
		return nil, fmt.Errorf("the proxy: %w", err)
	}
	if proxy != nil {
		if err := c.mayBeAsked(ctx, u.Hostname()); err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(proxy)
		t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, response *http.Response) error {
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("the proxy %s says %s", proxy.Host, response.Status)
			}
			return nil
		}
		// Who set the proxy vouches for its address: it is mostly a private one,
		// and its name one of the system's resolver.
		t.DialContext = func(_ context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			return closedWith(ctx)(d.DialContext(ctx, network, address))
		}
		return t, nil
	}
	t.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
		return closedWith(ctx)(c.dial(ctx, address, nil))
	}
	t.DialTLSContext = func(_ context.Context, _, address string) (net.Conn, error) {
		named := config.Clone()
		named.ServerName = strings.TrimSuffix(u.Hostname(), ".")
		return closedWith(ctx)(c.dial(ctx, address, named))
	}
	return t, nil
}

// closedWith has a connection end with the context: a transport would finish a
// connection of a request that is given up, for the next one.
func closedWith(ctx context.Context) func(net.Conn, error) (net.Conn, error) {
	return func(conn net.Conn, err error) (net.Conn, error) {
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
}

// proxyFor returns the proxy for a URL, nil if there is none.
func (c *Client) proxyFor(u *url.URL) (*url.URL, error) {
	if c.Proxy != nil {
		return c.Proxy(u)
	}
	all := httpproxy.FromEnvironment()
	proxy, err := all.ProxyFunc()(u)
	if proxy != nil || err != nil || all.HTTPSProxy == "" {
		return proxy, err
	}
	// A proxy that cannot be read is passed over, as if none were to be asked.
	alone := httpproxy.Config{HTTPSProxy: all.HTTPSProxy}
	if proxy, _ = alone.ProxyFunc()(&url.URL{Scheme: "https", Host: "example.com"}); proxy == nil {
		return nil, errors.New("HTTPS_PROXY is the URL of none: want http://HOST:PORT")
	}
	return nil, nil
}

// mayBeAsked refuses a host that a proxy must not be sent to, since an address of it
// is not a public one. Of a host whose addresses are not known here, the proxy may
// know them.
func (c *Client) mayBeAsked(ctx context.Context, host string) error {
	if c.AllowPrivate {
		return nil
	}
	addresses, err := Addresses(ctx, c.Resolver, host)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return !download.Public(a) }); i >= 0 {
		return Problem{PrivateAddress, fmt.Sprintf("the address %s of %s is not a public one", addresses[i], host)}
	}
	return nil
}
