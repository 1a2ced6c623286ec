package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"
)

// All printing is done here. Results go to stdout, the story to stderr. Messages
// begin with "smimea:", without a capital, and end without a full stop. Colours
// are for terminals only, and not where NO_COLOR is set (no-color.org).

type ui struct {
	stdout, stderr io.Writer
	json           bool
	colours        bool // of stdout
	errColours     bool // of stderr
	terminal       bool // stderr is one: progress may be drawn over itself
	flush          func() error
}

func newUI(stdout, stderr io.Writer) *ui {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	u := &ui{
		stdout: stdout, stderr: stderr, flush: func() error { return nil },
		colours:    isTerminal(stdout) && !plain,
		errColours: isTerminal(stderr) && !plain,
		terminal:   isTerminal(stderr),
	}
	if !isTerminal(stdout) {
		buffer := bufio.NewWriterSize(stdout, 64<<10)
		u.stdout, u.flush = buffer, buffer.Flush
	}
	return u
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// A colour is an SGR parameter.
type colour string

const (
	green  colour = "32"
	yellow colour = "33"
	red    colour = "31"
	bold   colour = "1"
)

func (u *ui) paint(c colour, s string) string { return paint(u.colours, c, s) }

func paint(on bool, c colour, s string) string {
	if !on {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// print writes a part of the result.
func (u *ui) print(format string, args ...any) { fmt.Fprintf(u.stdout, format, args...) }

// say writes a line of the story.
func (u *ui) say(format string, args ...any) {
	fmt.Fprintf(u.stderr, "smimea: %s\n", printable(fmt.Sprintf(format, args...)))
}

// warn writes a line of the story that should not be overlooked.
func (u *ui) warn(format string, args ...any) {
	fmt.Fprintf(u.stderr, "smimea: %s %s\n", paint(u.errColours, yellow, "warning:"), printable(fmt.Sprintf(format, args...)))
}

// failed prints an error, and returns the exit status that belongs to it.
func (u *ui) failed(verb string, err error) exit {
	status := exitTryAgain
	var f *failure
	if errors.As(err, &f) {
		status = f.exit
	}
	fmt.Fprintf(u.stderr, "smimea: %s %s\n", paint(u.errColours, red, "error:"), printable(err.Error()))
	if status == exitUsage && verb != "" {
		fmt.Fprintf(u.stderr, "smimea: smimea %s -h shows what it takes\n", verb)
	}
	return status
}

// printable keeps what others wrote, in the DNS or in a certificate, from
// steering the terminal, from looking like a line of ours, and from being read in
// another order than it is written.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case isHidden(r):
			return '\ufffd'
		}
		return r
	}, s)
}

// isHidden reports whether a character is one that is not seen itself, or not what it
// seems: controls, formats (among them those of direction, of no width, and tags),
// separators, variation selectors, and what is unassigned or private.
func isHidden(r rune) bool {
	return !strconv.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func quote(s string) string { return strconv.Quote(s) }

// emit prints a value as JSON.
func (u *ui) emit(value any) error {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(value)
	if err == nil {
		_, err = io.WriteString(u.stdout, escaped(text.String()))
	}
	if err != nil {
		return fail(exitCannotWrite, fmt.Errorf("writing the result: %w", err))
	}
	return nil
}

// escaped writes hidden characters as JSON can, so that they do nothing to a terminal
// either. Outside of its strings JSON has none but line feeds.
func escaped(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && isHidden(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || !isHidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, "\\u%04x\\u%04x", high, low)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// table prints rows in columns. An empty last column leaves no space.
func (u *ui) table(rows [][]string) {
	w := tabwriter.NewWriter(u.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	w.Flush()
}

// usage lists the verbs.
func (u *ui) usage(w io.Writer) {
	fmt.Fprint(w, `usage: smimea VERB [FLAGS] OPERANDS

Finds, checks and explains S/MIME certificates that are published in the DNS
(RFC 8162) and over HTTPS.

`)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range verbs {
		fmt.Fprintf(tw, "  smimea %s %s\t%s\n", v.name, v.synopsis, v.summary)
	}
	tw.Flush()
	fmt.Fprint(w, `
smimea VERB -h explains a verb. All take -json.
`)
}

// help explains a verb.
func (u *ui) help(v *verb, f *flag.FlagSet) {
	u.print("usage: smimea %s [FLAGS] %s\n\n%s\n", v.name, v.synopsis, strings.TrimSpace(v.help))
	header := false
	f.VisitAll(func(option *flag.Flag) {
		if !header {
			u.print("\nFlags:\n")
			header = true
		}
		value, text := flag.UnquoteUsage(option)
		if value != "" {
			value = " " + value
		}
		switch option.DefValue {
		case "", "false", "0", "0s":
		default:
			text += " (default " + option.DefValue + ")"
		}
		u.print("  -%s%s\n    \t%s\n", option.Name, value, text)
	})
}

// A progress tells how far something has come that takes over a second.
type progress struct {
	u     *ui
	what  string
	start time.Time
	last  time.Time
	drawn bool
}

func (u *ui) progress(what string) *progress {
	now := time.Now()
	return &progress{u: u, what: what, start: now, last: now}
}

// at reports that done things of total (0: unknown) are done. It is cheap enough
// to be called for each.
func (p *progress) at(done, total int) {
	now := time.Now()
	if now.Sub(p.last) < time.Second {
		return
	}
	p.last = now
	text := fmt.Sprintf("%s: %d", p.what, done)
	if total > 0 {
		text = fmt.Sprintf("%s: %d of %d", p.what, done, total)
	}
	if p.u.terminal {
		fmt.Fprintf(p.u.stderr, "\rsmimea: %s ", text)
		p.drawn = true
	} else {
		p.u.say("%s", text)
	}
}

// end removes what at has drawn.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.u.stderr, "\r\x1b[K")
	}
}
