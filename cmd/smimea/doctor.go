package main

import (
	"flag"
	"fmt"

	"coredns-smimea/discover"
	"coredns-smimea/discover/diagnose"
	"coredns-smimea/smimea"
)

var doctorVerb = verb{
	name:     "doctor",
	synopsis: "DOMAIN [ADDRESS...]",
	summary:  "what is wrong with a domain's records, seen from outside",
	help: `
Looks at a domain as senders and validating resolvers do: the delegation and its
DS records, the signatures and denials at _smimecert and _smime, every name
server and its serial, and for the given addresses the records, the traps beside
them (denials that hide records, proofs of delegations that are none), the
download, its media type, and whether it is what the records name.

  smimea doctor example.com hugh@example.com
  smimea doctor -ns 192.0.2.53 -anchor Kexample.com.+013+12345.key example.com

The second asks one server, before the domain's zones are delegated to it, and the
system's resolver for what that server does not have, such as the web server's
address. The trust anchor is the key that smimea keygen made: of whatever zones of the
domain are signed with it.

What only follows from another finding is not told on its own: once the cause is
mended, it is gone, or can be judged.

The exit status is 0 if all is well, 1 if there are warnings or errors, 64 if
the command line is wrong.
`,
	setup: func(f *flag.FlagSet) action {
		o := doctorOptions{}
		o.define(f)
		f.Var(&o.ns, "ns", "`ADDR[:PORT]` of a name server to ask, in place of those of the NS records; may be repeated")
		f.BoolVar(&o.allowPrivate, "allow-private", false, "let downloads go to private addresses, too")
		f.BoolVar(&o.quiet, "q", false, "print warnings and errors only")
		return func(u *ui, operands []string) (exit, error) { return doctor(u, operands, &o) }
	},
}

type doctorOptions struct {
	resolverFlags
	ns                  list
	allowPrivate, quiet bool
}

type doctorJSON struct {
	Schema   string         `json:"schema"` // smimea-doctor/1
	Domain   string         `json:"domain"`
	Findings []findingJSON  `json:"findings"`
	Summary  map[string]int `json:"summary"` // findings by level, without those that follow from others
}

type findingJSON struct {
	Level   string `json:"level"` // ok, warning, error
	Code    string `json:"code"`
	Where   string `json:"where"`
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"`
	Follows string `json:"follows,omitempty"` // the code of the finding that explains this one
}

func doctor(u *ui, operands []string, o *doctorOptions) (exit, error) {
	if len(operands) == 0 {
		return 0, usageError("a domain is missing")
	}
	if o.trustAD {
		return 0, usageError("the doctor validates itself: there is no -trust-ad for it")
	}
	any, err := smimea.ParseAddress("x@" + operands[0])
	if err != nil {
		return 0, fail(exitUsage, fmt.Errorf("reading the domain %q: %w", operands[0], err))
	}
	var addresses []smimea.Address
	for _, operand := range operands[1:] {
		a, err := smimea.ParseAddress(operand)
		if err == nil && a.Domain != any.Domain {
			err = fmt.Errorf("it is not in the domain %s", any.Domain)
		}
		if err != nil {
			return 0, fail(exitUsage, fmt.Errorf("reading %q: %w", operand, err))
		}
		addresses = append(addresses, a)
	}
	d := &diagnose.Doctor{Client: discover.Client{AllowPrivate: o.allowPrivate}}
	if d.Anchors, err = o.anchors(); err != nil {
		return 0, err
	}
	for _, text := range o.ns {
		server, err := discover.ParseServer(text)
		if err != nil {
			return 0, fail(exitUsage, err)
		}
		d.NameServers = append(d.NameServers, server)
	}
	if o.server == "" && len(d.NameServers) > 0 {
		d.Server = d.NameServers[0]
		// Without a resolver there is only what the server itself has.
		d.Elsewhere, _ = discover.SystemServer()
	} else if d.Server, err = o.serverToAsk(); err != nil {
		return 0, err
	}
	if !u.json {
		d.Found = func(f diagnose.Finding) {
			if f.Follows == "" && (f.Level != diagnose.OK || !o.quiet) {
				printFinding(u, f)
			}
		}
	}
	ctx, stop := o.context()
	defer stop()

	follow := 0
	result := doctorJSON{Schema: "smimea-doctor/1", Domain: any.Domain, Findings: []findingJSON{}, Summary: map[string]int{"ok": 0, "warning": 0, "error": 0}}
	for _, f := range d.Examine(ctx, any.Domain, addresses) {
		result.Findings = append(result.Findings, findingJSON{string(f.Level), f.Code, f.Where, f.Text, f.Remedy, f.Follows})
		if f.Follows != "" {
			follow++
			continue
		}
		result.Summary[string(f.Level)]++
	}
	status := exitOK
	if result.Summary["warning"]+result.Summary["error"] > 0 {
		status = exitNone
	}
	if u.json {
		return status, u.emit(result)
	}
	if o.quiet && status == exitOK {
		return status, nil
	}
	follows := ""
	if follow > 0 {
		follows = fmt.Sprintf(" (and %d that follow from them)", follow)
	}
	u.print("%d ok, %d warnings, %d errors%s\n", result.Summary["ok"], result.Summary["warning"], result.Summary["error"], follows)
	return status, nil
}

func printFinding(u *ui, f diagnose.Finding) {
	level := map[diagnose.Level]string{diagnose.OK: u.paint(green, "ok     "), diagnose.Warning: u.paint(yellow, "warning"), diagnose.Error: u.paint(red, "error  ")}[f.Level]
	u.print("%s %s: %s\n", level, printable(f.Where), printable(f.Text))
	if f.Remedy != "" {
		u.print("        %s %s\n", u.paint(bold, "remedy:"), printable(f.Remedy))
	}
}
