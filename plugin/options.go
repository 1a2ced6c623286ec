package plugin

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// An option is all that there is to say about one option of the directive.
type option struct {
	// part is what depends on it: where its value is kept in config.
	part part
	// many says that each time that it is there adds to what there is; of others the
	// last one counts.
	many bool
	// set reads its arguments, each time that it is there.
	set func(c *config, a arguments) error
	// preset is its value where it is not there; nil: the zero value.
	preset func(c *config)
	// check looks at what it says together with others, and completes that, when
	// all have been read; nil: nothing to check.
	check func(c *config) error
}

// part is what of a config an option belongs to.
type part int

const (
	read     part = iota // what is read
	become               // what becomes of it: the records and the zones
	followed             // how the directory is followed
	asked                // how questions are answered and zones are handed on
	hosted               // the HTTPS host
)

// arguments are what stands after an option.
type arguments struct {
	list []string
	path func(string) string // makes a path absolute, or relative to the working directory
}

// options are all options by their names.
var options = map[string]option{}

func init() {
	for _, some := range []map[string]option{publishedOptions, answeredOptions, hostOptions} {
		maps.Copy(options, some)
	}
}

func optionNames() []string { return slices.Sorted(maps.Keys(options)) }

// defaults returns what a block is without any option.
func defaults() *config {
	c := &config{lines: map[string]string{}}
	for _, name := range optionNames() {
		if preset := options[name].preset; preset != nil {
			preset(c)
		}
	}
	return c
}

// one returns the only argument; what says what it is.
func (a arguments) one(what string) (string, error) {
	if len(a.list) != 1 {
		return "", fmt.Errorf("want one %s", what)
	}
	return a.list[0], nil
}

// file returns the only argument, a path.
func (a arguments) file(what string) (string, error) {
	s, err := a.one(what)
	if err != nil {
		return "", err
	}
	return a.path(s), nil
}

// files gives all arguments, which are paths, to what reads them, up to its first error.
func (a arguments) files(read func(file string) error) error {
	if len(a.list) == 0 {
		return errors.New("want FILE, once or several times")
	}
	for _, file := range a.list {
		if err := read(a.path(file)); err != nil {
			return err
		}
	}
	return nil
}

// none refuses arguments.
func (a arguments) none() error {
	if len(a.list) != 0 {
		return errors.New("takes no argument")
	}
	return nil
}

// either reports whether the only argument is the first of two words.
func (a arguments) either(yes, no string) (bool, error) {
	if len(a.list) != 1 || a.list[0] != yes && a.list[0] != no {
		return false, fmt.Errorf("want %s or %s", yes, no)
	}
	return a.list[0] == yes, nil
}

func (a arguments) number(n *int, what string, least, most int) error {
	s, err := a.one(what)
	if err != nil {
		return err
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < least || v > most {
		return fmt.Errorf("%q is not a number from %d to %d", s, least, most)
	}
	*n = v
	return nil
}

// duration reads a Go duration or a number of seconds.
func (a arguments) duration(d *time.Duration, least, most time.Duration) error {
	s, err := a.one("DURATION")
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if n, notNumber := strconv.ParseUint(s, 10, 31); notNumber == nil {
		v, err = time.Duration(n)*time.Second, nil
	}
	if err != nil {
		return fmt.Errorf("%q is not a duration: write 90s, 5m, 1h, or a number of seconds", s)
	}
	if v < least || v > most {
		return fmt.Errorf("%s is out of range: from %v to %v is possible", s, least, most)
	}
	*d = v
	return nil
}

func (a arguments) ttl(d *time.Duration) error {
	var v time.Duration
	if err := a.duration(&v, 0, 1<<31*time.Second-1); err != nil {
		return err
	}
	switch {
	case v > maxTTL:
		return fmt.Errorf("%s is longer than 1h: *dnssec* signs with an original TTL of 3600 seconds, whatever the record's is, and validators keep to that: write 1h or less", a.list[0])
	case v < time.Second || v%time.Second != 0:
		return fmt.Errorf("%s is out of range: whole seconds from 1s to 1h are possible", a.list[0])
	}
	*d = v
	return nil
}

// hostName returns a name of a host, in lower case with a final dot. Underscores
// are let pass: there are name servers that have them.
func hostName(s string) (string, error) {
	name := strings.ToLower(dns.Fqdn(s))
	labels := dns.SplitDomainName(name)
	if _, ok := dns.IsDomainName(s); !ok || len(labels) == 0 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", fmt.Errorf("%q is not a domain name", s)
	}
	for _, label := range labels {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", fmt.Errorf("%q is not a domain name of a host: a label begins or ends with a hyphen", s)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%q is not a domain name, nor an address", s)
	}
	return name, nil
}

// mailboxCharacters are those of names that stand for an address, with `\.` for a
// dot in its local-part: no quoted string, and no wildcard.
const mailboxCharacters = `abcdefghijklmnopqrstuvwxyz0123456789!#%&'+-/=?^_{|}~.\`

// mailboxName returns an address of a person, or a name that stands for one, as the
// name that a SOA record has (RFC 1035 section 3.3.13).
func mailboxName(s string) (string, error) {
	name := s
	if local, domain, ok := strings.Cut(s, "@"); ok { // written as an address
		host, err := hostName(domain)
		if _, bad := smimea.ParseAddress(s); bad != nil || err != nil {
			return "", fmt.Errorf("%q is neither an address nor a domain name", s)
		}
		name = strings.ReplaceAll(local, ".", `\.`) + "." + host
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "." || strings.Trim(strings.ToLower(name), mailboxCharacters) != "" {
		return "", fmt.Errorf("%q is not a domain name", s)
	}
	return dns.Fqdn(name), nil
}

// isAddress reports whether a text is an IP address.
func isAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
