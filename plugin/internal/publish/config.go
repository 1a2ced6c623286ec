package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/plugin/internal/crl"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// A Config is what a publisher depends on. Its first three parts, encoded whole,
// are the keys by which a reload finds out what it can take over: whoever adds a
// field to one of them has added it to the key.
type Config struct {
	Reading
	smimea.Policy
	Following
	Places []*zone.Place
	TTL    time.Duration // of the records, as in the places
	Dir    string        // the directory as the operator calls it

	// Issuers are the authorities of RootsFrom and IssuersFrom, in DER: they vouch for lists.
	Issuers [][]byte
	Roots   *certsource.Roots // what RootsFrom names; nil for any authority
}

// Reading is what is read. What was read by two with the same Reading is the same.
type Reading struct {
	Path      string   // of the directory, absolute
	RootsFrom []string // files of authorities and their digests
	// Points has read where lists of revoked certificates are, and has them fetched.
	Points bool
}

// Following is how the directory is followed.
type Following struct {
	Reload      time.Duration // between two looks at everything
	Unwatched   bool          // no notifications, only looks
	MaxWithdraw int           // percent
	State       string        // the file that a state is kept in, or none
	Paths       bool          // certificates are given out, by their path
	Signed      bool          // secondaries get signatures
	Lists       crl.Config    // of revoked certificates
	IssuersFrom []string      // files of authorities, besides, that vouch for lists, and their digests
}

// Key tells publishers apart: one is taken over whole by who has the same key.
func (c *Config) Key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v %+v %+v %v\n", c.Reading, c.Policy, c.Following, c.TTL)
	for _, p := range c.Places {
		fmt.Fprintln(&b, p.Origin, p.Layout, p.TTL, p.Apex)
	}
	return b.String()
}

// readKey is the same for two of whose files the one can believe what the other
// has read, in this program: another one may judge a file in another way.
func (c *Config) readKey() string {
	h := sha256.New()
	fmt.Fprintf(h, "%#v\n", c.Reading)
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info.GoVersion, info.Main, info.Settings)
		for _, dep := range info.Deps {
			fmt.Fprintln(h, *dep)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// formKey is the same for two that make the same records of a file.
func (c *Config) formKey() string { return fmt.Sprintf("%+v", c.Policy) }

// prefix returns what all URLs of a mail domain begin with.
func (c *Config) prefix(domain string) string {
	a := c.URL.Expand(domain, "a", strings.Repeat("0", 2*smimea.HashSize))
	b := c.URL.Expand(domain, "b", strings.Repeat("1", 2*smimea.HashSize))
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
