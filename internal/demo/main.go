// Command demo shows the server at work: it makes certificates and a DNSSEC key,
// starts CoreDNS on loopback, and prints what to ask. make demo runs it.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

//go:embed Corefile
var corefile string

// A demo is where everything is.
type demo struct {
	server, command    string // the two programs
	dir                string
	dns, https, metric string // ports of 127.0.0.1
}

func main() {
	var d demo
	flag.StringVar(&d.server, "server", "build/coredns", "the server, a `program`")
	flag.StringVar(&d.command, "command", "build/smimea", "the `program` to ask with")
	flag.StringVar(&d.dir, "dir", "demo", "the `directory` to put everything into; what is there goes")
	flag.StringVar(&d.dns, "port", "1053", "the `port` of 127.0.0.1 for the DNS")
	flag.StringVar(&d.https, "https", "8443", "the `port` of 127.0.0.1 for HTTPS")
	flag.StringVar(&d.metric, "metrics", "9153", "the `port` of 127.0.0.1 for the metrics")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func (d *demo) run(ctx context.Context) error {
	server, err := filepath.Abs(d.server)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	if err := makeCertificates(d.dir); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	if err := makeKey(d.dir); err != nil {
		return fmt.Errorf("making a DNSSEC key: %w", err)
	}
	if err := makeTLS(d.dir); err != nil {
		return fmt.Errorf("making a TLS certificate: %w", err)
	}
	config := strings.NewReplacer(":1053", ":"+d.dns, ":8443", ":"+d.https, ":9153", ":"+d.metric).Replace(corefile)
	if err := os.WriteFile(filepath.Join(d.dir, "Corefile"), []byte(config), 0o644); err != nil {
		return err
	}

	cmd := exec.Command(server, "-conf", "Corefile")
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := ready(ctx, net.JoinHostPort("127.0.0.1", d.dns), ended); err != nil {
		cmd.Process.Kill()
		return err
	}
	fmt.Print(d.guide())

	select {
	case err := <-ended:
		return fmt.Errorf("the server ended by itself: %v", err)
	case <-ctx.Done():
	}
	// Ctrl-C in a terminal reaches the server as well; it does not mind two.
	cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	fmt.Println("\nThe demo has ended. What it made is in " + d.dir + ".")
	return nil
}

// ready waits until the server answers for a certificate.
func ready(ctx context.Context, addr string, ended <-chan error) error {
	m := new(dns.Msg)
	m.SetQuestion(owner("alice@example.com"), dns.TypeSMIMEA)
	client := &dns.Client{Timeout: time.Second}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if r, _, err := client.ExchangeContext(ctx, m, addr); err == nil && len(r.Answer) > 0 {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the server did not start: %v (is a port taken? make demo DEMOFLAGS='-port 2053 -https 9443 -metrics 9154' takes others)", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("the server does not answer")
}

// owner returns an address's SMIMEA owner name. The addresses here are all good.
func owner(address string) string {
	a, err := smimea.ParseAddress(address)
	if err != nil {
		panic(err)
	}
	return a.Owner()
}
