package plugin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// maxTTL is the original TTL that *dnssec* signs with, whatever a record's TTL
// is: validators cut a longer one down to it (RFC 4035 section 5.3.3).
const maxTTL = time.Hour

// publishedOptions say what is read, what becomes of it, and how it is followed.
var publishedOptions = map[string]option{
	"roots": {
		part: read,
		many: true,
		set: func(c *config, a arguments) error {
			return a.files(func(file string) error { return addRoots(&c.published, file) })
		},
	},
	"revocation": {
		part: followed,
		many: true,
		set:  func(c *config, a arguments) error { return addLists(&c.published, a) },
	},
	"record": {
		part: become,
		many: true,
		set: func(c *config, a arguments) error {
			if len(a.list) != 3 {
				return errors.New("want USAGE SELECTOR MATCHING, three numbers")
			}
			record, err := smimea.ParseAssociation(a.list[0], a.list[1], a.list[2])
			if err != nil {
				return err
			}
			if slices.Contains(c.published.Records, record) {
				return fmt.Errorf("%v is there twice", record)
			}
			c.published.Records = append(c.published.Records, record)
			return nil
		},
		check: func(c *config) error {
			if len(c.published.Records) == 0 {
				c.published.Records = []smimea.Association{{Usage: smimea.UsageDANEEE, Selector: smimea.SelectorSPKI, Matching: smimea.MatchingSHA256}}
			}
			return nil
		},
	},
	"url": {
		part: become,
		preset: func(c *config) {
			url, err := smimea.ParseURLTemplate("https://{domain}/.well-known/smime/{file}")
			if err != nil {
				panic(err)
			}
			c.published.URL = url
		},
		set: func(c *config, a arguments) error {
			if len(a.list) != 1 {
				return errors.New("want one TEMPLATE, or off")
			}
			if a.list[0] == "off" {
				c.published.URL = smimea.URLTemplate{}
				return nil
			}
			var err error
			c.published.URL, err = smimea.ParseURLTemplate(a.list[0])
			return err
		},
	},
	"case": {
		part:   become,
		preset: func(c *config) { c.published.Lower = true },
		set: func(c *config, a arguments) (err error) {
			c.published.Lower, err = a.either("lower", "exact")
			return err
		},
	},
	"ttl": {
		part:   become,
		preset: func(c *config) { c.published.TTL = time.Hour },
		set:    func(c *config, a arguments) error { return a.ttl(&c.published.TTL) },
	},
	"negative_ttl": {
		part:   become,
		preset: func(c *config) { c.apex.negative = 5 * time.Minute },
		set:    func(c *config, a arguments) error { return a.ttl(&c.apex.negative) },
	},
	"ns": {
		part: become,
		many: true,
		set: func(c *config, a arguments) error {
			if len(a.list) == 0 {
				return errors.New("want NAME [ADDRESS...], once or several times")
			}
			for i, arg := range a.list {
				if addr, ok := isAddress(arg); ok {
					if i == 0 {
						return fmt.Errorf("%s: the address comes after the name that it belongs to", arg)
					}
					if addr.IsUnspecified() || addr.IsMulticast() || addr.Is4In6() || addr.Zone() != "" {
						return fmt.Errorf("%s is not the address of a name server", arg)
					}
					last := &c.apex.ns[len(c.apex.ns)-1]
					last.Addresses = append(last.Addresses, addr)
					continue
				}
				name, err := hostName(arg)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(c.apex.ns, func(ns zone.NameServer) bool { return ns.Name == name }) {
					return fmt.Errorf("%s is there twice: write all of its addresses after the one name", name)
				}
				c.apex.ns = append(c.apex.ns, zone.NameServer{Name: name})
			}
			return nil
		},
	},
	"mbox": {
		part: become,
		set: func(c *config, a arguments) error {
			s, err := a.one("NAME")
			if err == nil {
				c.apex.mailbox, err = mailboxName(s)
			}
			return err
		},
	},
	"refresh": {
		part:   become,
		preset: func(c *config) { c.apex.refresh = time.Hour },
		set:    func(c *config, a arguments) error { return a.duration(&c.apex.refresh, time.Second, 30*24*time.Hour) },
	},
	"retry": {
		part:   become,
		preset: func(c *config) { c.apex.retry = 15 * time.Minute },
		set:    func(c *config, a arguments) error { return a.duration(&c.apex.retry, time.Second, 30*24*time.Hour) },
	},
	"expire": {
		part: become,
		set: func(c *config, a arguments) error {
			return a.duration(&c.apex.expire, time.Minute, 365*24*time.Hour)
		},
		check: func(c *config) error {
			if c.apex.expire == 0 {
				c.apex.expire = 14 * 24 * time.Hour
				if c.published.Signed {
					c.apex.expire = 2 * 24 * time.Hour // signatures last longer: see sign.RenewBefore
				}
			}
			if least := c.apex.refresh + c.apex.retry; c.apex.expire < least {
				log.Warningf("%v", c.at("expire", fmt.Errorf("it is %v, and refresh and retry are %v together: a secondary gives the zone up before it has asked twice; make expire longer, or these shorter", c.apex.expire, least)))
			}
			return nil
		},
	},
	"reload": {
		part:   followed,
		preset: func(c *config) { c.published.Reload = 30 * time.Second },
		set: func(c *config, a arguments) error {
			return a.duration(&c.published.Reload, 100*time.Millisecond, 24*time.Hour)
		},
	},
	"watch": {
		part: followed,
		set: func(c *config, a arguments) error {
			on, err := a.either("on", "off")
			c.published.Unwatched = !on
			return err
		},
	},
	"max_withdraw": {
		part:   followed,
		preset: func(c *config) { c.published.MaxWithdraw = 50 },
		set:    func(c *config, a arguments) error { return a.number(&c.published.MaxWithdraw, "PERCENT", 0, 100) },
	},
	"state": {
		part: followed,
		set: func(c *config, a arguments) (err error) {
			c.published.State, err = a.file("FILE")
			return err
		},
		check: func(c *config) error {
			if c.published.State == "" {
				return nil
			}
			if err := statefile.At(c.published.State).Check(); err != nil {
				return fmt.Errorf("the state %q cannot be kept: %w", c.published.State, err)
			}
			return nil
		},
	},
	"transfer_signed": {
		part: followed,
		set: func(c *config, a arguments) error {
			c.published.Signed = true
			return a.none()
		},
		check: func(c *config) error {
			if c.published.Signed && c.published.TTL != maxTTL {
				return fmt.Errorf("it does not go with a ttl of %v: *dnssec* signs with an original TTL of 3600 seconds, and that is what a signed zone must have: leave out one of them", c.published.TTL)
			}
			return nil
		},
	},
}

// addRoots reads certificates of authorities.
func addRoots(p *publish.Config, file string) error {
	if p.Roots == nil {
		p.Roots = &certsource.Roots{}
	}
	data, err := readAuthorities("roots", file, "authorities", p.Roots)
	if err != nil {
		return err
	}
	certs, _ := certsource.ReadAll(data)
	p.Issuers = append(p.Issuers, certs...)
	p.RootsFrom = append(p.RootsFrom, version(file, data))
	return nil
}

// version names a file as it was read.
func version(file string, data []byte) string { return fmt.Sprintf("%s %x", file, sha256.Sum256(data)) }

// addLists takes in where lists of revoked certificates are.
func addLists(p *publish.Config, a arguments) error {
	lists := &p.Lists
	switch {
	case len(a.list) == 0:
		return errors.New("want FILE, once or several times, or cdp, or cdp private")
	case a.list[0] != "cdp":
		for _, name := range a.list {
			if strings.Contains(name, "://") {
				return fmt.Errorf("%q is no file: fetch it into one, or have the lists asked for where certificates say, with cdp", name)
			}
		}
		return a.files(func(file string) error {
			if slices.Contains(lists.Files, file) {
				return fmt.Errorf("%q is there twice", file)
			}
			lists.Files = append(lists.Files, file)
			return nil
		})
	case len(a.list) > 2 || len(a.list) == 2 && a.list[1] != "private":
		return errors.New("after cdp there is private, or nothing: name files in a line of their own")
	}
	lists.Points, p.Points = true, true
	lists.Private = len(a.list) == 2
	return nil
}
