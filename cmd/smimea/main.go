// Smimea finds, checks and explains S/MIME certificates that are published in
// the DNS. See smimea(1), or smimea -h.
package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"strings"
)

// A verb is one of the things the command does.
type verb struct {
	name     string
	synopsis string // what follows the name
	summary  string // one line of it, for the list of verbs
	help     string // what -h says under the synopsis
	// setup defines the verb's flags, and returns what to do once they are
	// parsed.
	setup func(*flag.FlagSet) action
}

// An action does a verb's work on its operands and returns its exit status, or
// an error that the caller prints.
type action func(u *ui, operands []string) (exit, error)

// An exit is an exit status. The numbers from 64 on are those of sysexits(3).
type exit int

const (
	exitOK          exit = 0  // done; verified
	exitNone        exit = 1  // securely no certificate; findings
	exitUnverified  exit = 3  // found, or looked for, without DNSSEC to hold on to
	exitUsage       exit = 64 // the command line is wrong
	exitWrong       exit = 65 // found, and wrong
	exitNoInput     exit = 66 // a file or directory cannot be read
	exitCannotWrite exit = 73 // a file cannot be written
	exitTryAgain    exit = 75 // nothing is known: ask again later
)

// A failure is an error with the exit status that it leads to.
type failure struct {
	exit exit
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(status exit, err error) error { return &failure{status, err} }

func usageError(text string) error { return fail(exitUsage, errors.New(text)) }

// verbs is filled in by init, since completion and help read it themselves.
var verbs []*verb

func init() {
	verbs = []*verb{&lookupVerb, &checkVerb, &doctorVerb, &recordsVerb, &ownerVerb, &keygenVerb, &ldapVerb, &completionVerb, &versionVerb}
}

func main() {
	os.Exit(int(run(os.Args[1:], os.Stdout, os.Stderr)))
}

func run(args []string, stdout, stderr io.Writer) exit {
	u := newUI(stdout, stderr)
	status := dispatch(u, args)
	if err := u.flush(); err != nil {
		return u.failed("", fail(exitCannotWrite, err))
	}
	return status
}

func dispatch(u *ui, args []string) exit {
	if len(args) == 0 {
		u.usage(u.stderr)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if len(args) > 1 {
			if v := verbNamed(args[1]); v != nil {
				f := v.flags(nil)
				v.common(f, u)
				u.help(v, f)
				return exitOK
			}
		}
		u.usage(u.stdout)
		return exitOK
	case "-version", "--version":
		args[0] = versionVerb.name
	}
	v := verbNamed(args[0])
	if v == nil {
		return u.failed("", usageError("there is no verb "+quote(args[0])+"; smimea -h lists them"))
	}
	return v.run(u, args[1:])
}

func verbNamed(name string) *verb {
	for _, v := range verbs {
		if v.name == name {
			return v
		}
	}
	return nil
}

// flags returns the verb's flag set, and stores what they lead to in do.
func (v *verb) flags(do *action) *flag.FlagSet {
	f := flag.NewFlagSet(v.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	run := v.setup(f)
	if do != nil {
		*do = run
	}
	return f
}

// common defines the flags of all verbs.
func (v *verb) common(f *flag.FlagSet, u *ui) {
	f.BoolVar(&u.json, "json", false, "print JSON, as smimea-json(5) says, in place of words")
}

func (v *verb) run(u *ui, args []string) exit {
	var do action
	f := v.flags(&do)
	v.common(f, u)
	operands, err := parseFlags(f, args)
	if errors.Is(err, flag.ErrHelp) {
		u.help(v, f)
		return exitOK
	}
	if err != nil {
		return u.failed(v.name, usageError(err.Error()))
	}
	status, err := do(u, operands)
	if err != nil {
		return u.failed(v.name, err)
	}
	return status
}

// parseFlags lets flags and operands come in any order. After -- there are
// operands only.
func parseFlags(f *flag.FlagSet, args []string) (operands []string, err error) {
	var rest []string
	for i, arg := range args {
		if arg == "--" {
			args, rest = args[:i], args[i+1:]
			break
		}
	}
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		args = f.Args()
		for len(args) > 0 && !isFlag(args[0]) {
			operands = append(operands, args[0])
			args = args[1:]
		}
	}
	return append(operands, rest...), nil
}

func isFlag(arg string) bool { return len(arg) > 1 && strings.HasPrefix(arg, "-") }
