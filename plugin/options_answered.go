package plugin

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/miekg/dns"
)

// answeredOptions say which zones there are, how questions about them are answered,
// and to whom they are handed on.
var answeredOptions = map[string]option{
	"zones": {
		part: become,
		set: func(c *config, a arguments) error {
			if c.zones != nil {
				return errors.New("is there twice: put all mail domains into one file")
			}
			file, err := a.file("FILE")
			c.zones = &zonesFile{path: file}
			return err
		},
	},
	"key": {
		part: asked,
		many: true,
		set: func(c *config, a arguments) error {
			if len(a.list) < 2 || a.list[0] != "file" {
				return errors.New("want file KEY..., as in *dnssec*")
			}
			for _, arg := range a.list[1:] {
				key, err := readKey(a.path(arg))
				if err != nil {
					return err
				}
				c.answered.keys = append(c.answered.keys, key)
			}
			return nil
		},
		check: func(c *config) error {
			if len(c.answered.keys) > 0 && c.zones == nil {
				return errors.New("there is no zones FILE, which it is for: have *dnssec* sign, and leave out key")
			}
			return nil
		},
	},
	"cds": {
		part:   asked,
		preset: func(c *config) { c.answered.cds = true },
		set: func(c *config, a arguments) (err error) {
			c.answered.cds, err = a.either("on", "off")
			return err
		},
	},
	"catalog": {
		part: asked,
		set: func(c *config, a arguments) error {
			s, err := a.one("NAME")
			if err == nil {
				c.answered.catalog, err = hostName(s)
			}
			return err
		},
	},
	"transfers": {
		part:   asked,
		preset: func(c *config) { c.answered.transfers = 10 },
		set:    func(c *config, a arguments) error { return a.number(&c.answered.transfers, "N", 1, 10_000) },
	},
	"udp_limit": {
		part:   asked,
		preset: func(c *config) { c.answered.udpLimit = 1232 },
		set:    func(c *config, a arguments) error { return a.number(&c.answered.udpLimit, "BYTES", 512, 4096) },
	},
	"tcp_only": {
		part: asked,
		set: func(c *config, a arguments) error {
			c.answered.tcpOnly = true
			return a.none()
		},
	},
	"lane": {
		part: asked,
		set: func(c *config, a arguments) (err error) {
			c.answered.laneOff, err = a.either("off", "on")
			return err
		},
	},
	"denials_per_second": {
		part:   asked,
		preset: func(c *config) { c.answered.denials = 4000 },
		set:    func(c *config, a arguments) error { return a.number(&c.answered.denials, "N", 0, 1_000_000) },
	},
}

// atLine is what an error of package dns says of where the mistake is.
var atLine = regexp.MustCompile(`at line: (\d+)`)

// readKey reads a key from the two files of dnssec-keygen. An error never has what
// is in them: it may be the secret.
func readKey(path string) (*dnssec.DNSKEY, error) {
	const what = "the two files of a key, as dnssec-keygen writes them"
	base := strings.TrimSuffix(strings.TrimSuffix(path, ".key"), ".private")
	public, private := base+".key", base+".private"
	_, err := readFile(public, what)
	var secret []byte
	if err == nil {
		secret, err = readFile(private, what)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	key, err := dnssec.ParseKeyFile(public, private)
	if err == nil {
		err = belongs(key.K, secret)
	}
	if err == nil {
		return key, nil
	}
	said, where := err.Error(), ""
	if m := atLine.FindStringSubmatch(said); m != nil {
		where = ", line " + m[1]
	}
	if strings.Contains(said, public) || strings.Contains(said, "no public key") {
		return nil, fmt.Errorf("reading a key: %q%s is no DNSKEY record: name %s", public, where, what)
	}
	return nil, fmt.Errorf("reading a key: %q%s is not the private key of %q: name %s", private, where, public, what)
}

// belongs returns an error unless what a private key signs can be verified with the public
// one. Two files of different keys can be read, and give signatures that nobody believes.
func belongs(key *dns.DNSKEY, private []byte) error {
	read, err := key.ReadPrivateKey(bytes.NewReader(private), "")
	if err != nil {
		return err
	}
	signer, ok := read.(crypto.Signer)
	if !ok {
		return errors.New("it cannot sign")
	}
	sig := &dns.RRSIG{Algorithm: key.Algorithm, SignerName: key.Hdr.Name, KeyTag: key.KeyTag()}
	rrset := []dns.RR{key}
	if err := sig.Sign(signer, rrset); err != nil {
		return err
	}
	return sig.Verify(key, rrset)
}
