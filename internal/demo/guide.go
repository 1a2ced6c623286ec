package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A step is something to paste.
type step struct {
	what  string
	needs string // a program that may not be there
	lines []string
}

// steps are what there is to see.
func (d *demo) steps() []step {
	at := "@127.0.0.1 -p " + d.dns
	in := func(name string) string { return filepath.Join(d.dir, name) }
	short := "dig " + at + " +short "
	validate := "delv " + at + " -a " + in("anchors") + " +root=example.com "
	smimea := func(verb string) string {
		return "SSL_CERT_FILE=" + in("ca.crt") + " " + d.command + " " + verb + " -server 127.0.0.1:" + d.dns + " -anchor " + in("Kexample.com.key") + " -allow-private "
	}
	frank := owner("frank@example.com") + " SMIMEA"
	return []step{
		{"alice's certificate, found, downloaded and verified, as a sender does it", "", []string{
			smimea("lookup") + "-o " + in("alice.pem") + " alice@example.com",
		}},
		{"the domain, seen from outside: everything is well", "", []string{
			smimea("doctor") + "-ns 127.0.0.1:" + d.dns + " example.com alice@example.com",
		}},
		{"what is published of the directory, and what is not", "", []string{
			d.command + " check " + in("certs") + " || true",
		}},
		{"alice's key as a digest: in the DNS, and computed from the file", "dig openssl", []string{
			short + owner("alice@example.com") + " SMIMEA | sed 's/^3 1 1//; s/ //g' | tr A-F a-f",
			"openssl x509 -in " + in("certs/alice.crt") + " -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -r | cut -c1-64",
		}},
		{"where it can be fetched", "dig", []string{
			short + "alice._smime.example.com TXT",
		}},
		{"fetched, by somebody who trusts the demo's own authority", "curl", []string{
			"curl -s --noproxy '*' --cacert " + in("ca.crt") + " --resolve example.com:" + d.https + ":127.0.0.1 -o " + in("fetched.crt") + " -w '%{http_code} %{content_type}\\n' https://example.com:" + d.https + "/.well-known/smime/alice.crt",
		}},
		{"the same, validated from the key of example.com on", "delv", []string{
			validate + owner("alice@example.com") + " SMIMEA",
			validate + "alice._smime.example.com TXT",
		}},
		{"bob has one certificate with two addresses", "dig", []string{
			short + "bob._smime.example.com TXT",
			short + "robert.jones._smime.example.com TXT",
		}},
		{"eve's has expired: there is no such name, and the denial is signed", "dig delv", []string{
			"dig " + at + " " + owner("eve@example.com") + " SMIMEA",
			validate + owner("eve@example.com") + " SMIMEA",
		}},
		{"frank's is new: it is published within a second, and withdrawn as quickly", "dig", []string{
			"cp " + in("frank.crt") + " " + in("certs/"),
			"until " + short + frank + " | grep .; do sleep 0.1; done",
			"rm " + in("certs/frank.crt"),
			"while " + short + frank + " | grep .; do sleep 0.1; done",
		}},
		{"what a monitoring system sees", "curl", []string{
			"curl -s --noproxy '*' http://127.0.0.1:" + d.metric + "/metrics | grep -E '^coredns_smimea_(certificates|changes|queries)'",
		}},
	}
}

// guide is what to paste, and what comes of it. What needs a program that is not there
// is left out.
func (d *demo) guide() string {
	var b strings.Builder
	b.WriteString("\nThe server is up. In another terminal, in this directory:\n")
	var missing []string
	for _, s := range d.steps() {
		if program := absent(s.needs); program != "" {
			missing = append(missing, program)
			continue
		}
		b.WriteString("\n# " + s.what + "\n")
		for _, line := range s.lines {
			b.WriteString(line + "\n")
		}
	}
	if missing != nil {
		b.WriteString("\nMore would be here with " + strings.Join(slices.Compact(slices.Sorted(slices.Values(missing))), ", ") + ".\n")
	}
	b.WriteString("\nCtrl-C ends it.\n")
	return b.String()
}

// absent returns the first of some programs that is not there.
func absent(programs string) string {
	for _, program := range strings.Fields(programs) {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}
