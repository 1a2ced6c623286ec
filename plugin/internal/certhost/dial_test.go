package certhost

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"
)

func dialer(lease *Lease) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", lease.Addr().String())
	}
}

// handshake makes one and returns what the server showed.
func handshake(lease *Lease, name string, protocols ...string) (tls.ConnectionState, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", lease.Addr().String(),
		&tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func shownName(t testing.TB, lease *Lease, name string) string {
	t.Helper()
	state, err := handshake(lease, name)
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].Subject.CommonName
}
