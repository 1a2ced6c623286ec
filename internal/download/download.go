// Package download gets what a stranger's URL leads to: at public addresses only, of
// bounded size, in bounded time.
package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

const maxRedirects = 5

// A Client asks web servers, directly or by the proxy of the environment. No
// connection outlives a download.
type Client struct {
	Size    int64         // octets that there may be
	Time    time.Duration // that all of one download may take
	Private bool          // addresses may be asked that are not public
}

// Get returns what a URL of http or https leads to.
func (c *Client) Get(ctx context.Context, place string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Time)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	if err := check(request.URL); err != nil {
		return nil, err
	}
	transport := c.transport()
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) > maxRedirects {
			return fmt.Errorf("it redirects more than %d times", maxRedirects)
		}
		return check(next.URL)
	}}
	response, err := client.Do(request)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // who logs it knows the URL
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server says %s", response.Status)
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, c.Size))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("it is larger than %d octets", c.Size)
	}
	return data, err
}

// check refuses what is not to be asked, wherever it leads.
func check(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return errors.New("it is no URL of http or https, or one with a user in it")
	}
	return nil
}

func (c *Client) transport() *http.Transport {
	dialer := &net.Dialer{}
	t := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		dialer.Control = c.control
		proxy, err := http.ProxyFromEnvironment(r)
		if proxy == nil || err != nil {
			return proxy, err
		}
		// Who set the proxy vouches for its address: it is mostly a private one. What
		// it is sent to must be public, as far as that can be told from here.
		dialer.Control = nil
		list, _ := net.DefaultResolver.LookupNetIP(r.Context(), "ip", r.URL.Hostname())
		for _, a := range list {
			if err := c.mayAsk(a); err != nil {
				return nil, err
			}
		}
		return proxy, nil
	}
	return t
}

// control refuses connections to addresses that are not public.
func (c *Client) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return c.mayAsk(a.Addr())
}

func (c *Client) mayAsk(a netip.Addr) error {
	if c.Private || Public(a) {
		return nil
	}
	return fmt.Errorf("the address %s is not a public one", a)
}
