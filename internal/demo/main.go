// Command demo shows the server at work: it makes certificates and a DNSSEC key,
// starts CoreDNS with corefile.example on loopback, and prints what to ask. make
// demo runs it.
package main

import (
	"context"
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

// corefilePort is the port in corefile.example.
const corefilePort = "1053"

func main() {
	server := flag.String("server", "build/coredns", "the `program` to start")
	corefile := flag.String("corefile", "corefile.example", "the `file` to start it with")
	dir := flag.String("dir", "demo", "the `directory` to put everything into; what is there goes")
	port := flag.String("port", corefilePort, "the `port` of 127.0.0.1 to serve on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, *corefile, *dir, *port); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, server, corefile, dir, port string) error {
	server, err := filepath.Abs(server)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "certs"), 0o755); err != nil {
		return err
	}
	if err := makeCertificates(filepath.Join(dir, "certs")); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	if err := makeKey(dir); err != nil {
		return fmt.Errorf("making a DNSSEC key: %w", err)
	}
	config, err := os.ReadFile(corefile)
	if err != nil {
		return err
	}
	config = []byte(strings.ReplaceAll(string(config), ":"+corefilePort, ":"+port))
	if err := os.WriteFile(filepath.Join(dir, "Corefile"), config, 0o644); err != nil {
		return err
	}

	cmd := exec.Command(server, "-conf", "Corefile")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := ready(ctx, net.JoinHostPort("127.0.0.1", port), ended); err != nil {
		cmd.Process.Kill()
		return err
	}
	fmt.Print(guide(dir, port))

	select {
	case err := <-ended:
		return fmt.Errorf("the server ended by itself: %v", err)
	case <-ctx.Done():
	}
	// Ctrl-C in a terminal reaches the server as well; it does not mind two.
	cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	fmt.Println("\nThe demo has ended. What it made is in " + dir + ".")
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
			return fmt.Errorf("the server did not start: %v (is port %s taken?)", err, addr)
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

// guide is what to paste, and what comes of it.
func guide(dir, port string) string {
	at := "@127.0.0.1 -p " + port
	validate := "delv " + at + " -a " + filepath.Join(dir, "anchors")
	var b strings.Builder
	say := func(what string, lines ...string) {
		b.WriteString("\n# " + what + "\n")
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\nThe server is up. In another terminal, in this directory:\n")
	say("alice's certificate, as a digest, and computed from the file: they are equal",
		"dig "+at+" +short "+owner("alice@example.com")+" SMIMEA",
		"openssl x509 -in "+filepath.Join(dir, "certs", "alice.crt")+" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256")
	say("where it can be fetched",
		"dig "+at+" +short alice._smime.example.com TXT")
	say("the same, validated from the key in "+filepath.Join(dir, "anchors"),
		validate+" +root=_smimecert.example.com "+owner("alice@example.com")+" SMIMEA",
		validate+" +root=_smime.example.com alice._smime.example.com TXT")
	say("bob has one certificate with two addresses",
		"dig "+at+" +short bob._smime.example.com TXT",
		"dig "+at+" +short robert.jones._smime.example.com TXT")
	say("eve's has expired: there is no such name, and the denial is signed",
		"dig "+at+" "+owner("eve@example.com")+" SMIMEA",
		validate+" +root=_smimecert.example.com "+owner("eve@example.com")+" SMIMEA")
	b.WriteString("\nCtrl-C ends it.\n")
	return b.String()
}
