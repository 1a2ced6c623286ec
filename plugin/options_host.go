package plugin

import (
	"errors"
)

// hostOptions say what is given out over HTTPS.
var hostOptions = map[string]option{
	"https": {
		part: hosted,
		set: func(c *config, a arguments) (err error) {
			if len(a.list) > 1 {
				return errors.New("want one ADDRESS at the most")
			}
			if c.host.https != "" {
				return errors.New("is there twice: two blocks can have an address each")
			}
			c.host.https, err = listenAddress(append(a.list, ":443")[0], "", "443")
			return err
		},
		check: func(c *config) error { return c.host.check(c) },
	},
	"http": {
		part: hosted,
		set: func(c *config, a arguments) error {
			s, err := a.one("ADDRESS")
			if err == nil {
				c.host.http, err = listenAddress(s, "127.0.0.1", "")
			}
			return err
		},
	},
	"chain": {
		part: hosted,
		many: true,
		set:  func(c *config, a arguments) error { return a.files(c.host.addChain) },
	},
	"tls": {
		part: hosted,
		set: func(c *config, a arguments) error {
			if len(a.list) != 2 {
				return errors.New("want two files, CERT KEY")
			}
			c.host.cert, c.host.key = a.path(a.list[0]), a.path(a.list[1])
			return nil
		},
	},
	"acme": {
		part: hosted,
		many: true,
		set: func(c *config, a arguments) error {
			if len(a.list) == 0 {
				return errors.New("want DOMAIN, once or several times")
			}
			c.host.acme.Domains = append(c.host.acme.Domains, a.list...)
			return nil
		},
	},
	"acme_email": {
		part: hosted,
		set:  func(c *config, a arguments) (err error) { c.host.acme.Email, err = a.one("EMAIL"); return err },
	},
	"acme_ca": {
		part: hosted,
		set:  func(c *config, a arguments) (err error) { c.host.acme.CA, err = a.one("URL"); return err },
	},
	"acme_root": {
		part: hosted,
		set: func(c *config, a arguments) error {
			file, err := a.file("FILE")
			if err == nil {
				err = c.host.trustCA(file)
			}
			return err
		},
	},
	"acme_storage": {
		part: hosted,
		set:  func(c *config, a arguments) (err error) { c.host.acme.Storage, err = a.file("DIR"); return err },
	},
	"acme_eab": {
		part: hosted,
		set: func(c *config, a arguments) error {
			if len(a.list) != 2 {
				return errors.New("want KEY_ID HMAC_FILE")
			}
			c.host.acme.EABKeyID, c.host.acme.EABKeyFile = a.list[0], a.path(a.list[1])
			return nil
		},
	},
	"acme_challenge": {
		part: hosted,
		set:  func(c *config, a arguments) (err error) { c.host.dns01, err = a.either("dns", "tls-alpn"); return err },
	},
}
