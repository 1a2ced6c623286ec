package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/miekg/dns"

	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// options read the arguments of each option. Path makes a path absolute.
var options = map[string]func(conf *config, args []string, path func(string) string) error{
	"record": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 3 {
			return errors.New("want USAGE SELECTOR MATCHING, three numbers")
		}
		a, err := smimea.ParseAssociation(args[0], args[1], args[2])
		if err != nil {
			return err
		}
		for _, has := range conf.records {
			if has == a {
				return fmt.Errorf("%v is there twice", a)
			}
		}
		conf.records = append(conf.records, a)
		return nil
	},
	"url": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one TEMPLATE, or off")
		}
		if args[0] == "off" {
			conf.url = smimea.URLTemplate{}
			return nil
		}
		var err error
		conf.url, err = smimea.ParseURLTemplate(args[0])
		return err
	},
	"ttl": func(conf *config, args []string, _ func(string) string) error {
		return ttl(&conf.ttl, args)
	},
	"negative_ttl": func(conf *config, args []string, _ func(string) string) error {
		return ttl(&conf.negative, args)
	},
	"case": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 || args[0] != "exact" && args[0] != "lower" {
			return errors.New("want exact or lower")
		}
		conf.lower = args[0] == "lower"
		return nil
	},
	"ns": func(conf *config, args []string, _ func(string) string) error {
		if len(args) == 0 {
			return errors.New("want NAME [ADDRESS...], once or several times")
		}
		for i, arg := range args {
			if addr, err := netip.ParseAddr(arg); err == nil {
				if i == 0 {
					return fmt.Errorf("%s: the address comes after the name that it belongs to", arg)
				}
				last := &conf.ns[len(conf.ns)-1]
				last.Addresses = append(last.Addresses, addr)
				continue
			}
			if _, ok := dns.IsDomainName(arg); !ok {
				return fmt.Errorf("%q is not a domain name", arg)
			}
			conf.ns = append(conf.ns, zone.NameServer{Name: strings.ToLower(dns.Fqdn(arg))})
		}
		return nil
	},
	"mbox": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one NAME")
		}
		mailbox := args[0]
		if local, domain, ok := strings.Cut(mailbox, "@"); ok { // written as an address
			mailbox = strings.ReplaceAll(local, ".", `\.`) + "." + domain
		}
		if _, ok := dns.IsDomainName(mailbox); !ok {
			return fmt.Errorf("%q is not a domain name", args[0])
		}
		conf.mailbox = dns.Fqdn(mailbox)
		return nil
	},
	"refresh": func(conf *config, args []string, _ func(string) string) error {
		return duration(&conf.refresh, args, time.Second, 30*24*time.Hour)
	},
	"retry": func(conf *config, args []string, _ func(string) string) error {
		return duration(&conf.retry, args, time.Second, 30*24*time.Hour)
	},
	"expire": func(conf *config, args []string, _ func(string) string) error {
		return duration(&conf.expire, args, time.Minute, 365*24*time.Hour)
	},
	"roots": func(conf *config, args []string, path func(string) string) error {
		if len(args) == 0 {
			return errors.New("want FILE, once or several times")
		}
		for i := range args {
			args[i] = path(args[i])
		}
		return conf.loadRoots(args)
	},
	"reload": func(conf *config, args []string, _ func(string) string) error {
		return duration(&conf.reload, args, 100*time.Millisecond, 24*time.Hour)
	},
	"watch": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 || args[0] != "on" && args[0] != "off" {
			return errors.New("want on or off")
		}
		conf.unwatched = args[0] == "off"
		return nil
	},
	"max_withdraw": func(conf *config, args []string, _ func(string) string) error {
		return number(&conf.maxWithdraw, args, "PERCENT", 0, 100)
	},
	"state": func(conf *config, args []string, path func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one FILE")
		}
		conf.state = path(args[0])
		return nil
	},
	"zones": func(conf *config, args []string, path func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one FILE")
		}
		conf.zones = &zonesFile{path: path(args[0])}
		return nil
	},
	"catalog": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one NAME")
		}
		if _, ok := dns.IsDomainName(args[0]); !ok {
			return fmt.Errorf("%q is not a domain name", args[0])
		}
		conf.catalog = strings.ToLower(dns.Fqdn(args[0]))
		return nil
	},
	"key": func(conf *config, args []string, path func(string) string) error {
		if len(args) < 2 || args[0] != "file" {
			return errors.New("want file KEY..., as in *dnssec*")
		}
		for _, arg := range args[1:] {
			base := path(strings.TrimSuffix(strings.TrimSuffix(arg, ".key"), ".private"))
			key, err := dnssec.ParseKeyFile(base+".key", base+".private")
			if err != nil {
				return fmt.Errorf("reading a key: %w", err)
			}
			conf.keys = append(conf.keys, key)
		}
		return nil
	},
	"transfers": func(conf *config, args []string, _ func(string) string) error {
		return number(&conf.transfers, args, "N", 1, 10_000)
	},
	"transfer_signed": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 0 {
			return errors.New("takes no argument")
		}
		conf.transferSigned = true
		return nil
	},
	"cds": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 || args[0] != "on" && args[0] != "off" {
			return errors.New("want on or off")
		}
		conf.cds = args[0] == "on"
		return nil
	},
	"udp_limit": func(conf *config, args []string, _ func(string) string) error {
		return number(&conf.udpLimit, args, "BYTES", 512, 4096)
	},
	"tcp_only": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 0 {
			return errors.New("takes no argument")
		}
		conf.tcpOnly = true
		return nil
	},
	"https": func(conf *config, args []string, _ func(string) string) error {
		if len(args) > 1 {
			return errors.New("want one ADDRESS at the most")
		}
		if conf.host.https != "" {
			return errors.New("is there twice: two blocks can have an address each")
		}
		var err error
		conf.host.https, err = listenAddress(append(args, ":443")[0], "", "443")
		return err
	},
	"http": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 {
			return errors.New("want one ADDRESS")
		}
		var err error
		conf.host.http, err = listenAddress(args[0], "127.0.0.1", "")
		return err
	},
	"tls": func(conf *config, args []string, path func(string) string) error {
		if len(args) != 2 {
			return errors.New("want two files, CERT KEY")
		}
		conf.host.cert, conf.host.key = path(args[0]), path(args[1])
		return nil
	},
	"acme": func(conf *config, args []string, _ func(string) string) error {
		if len(args) == 0 {
			return errors.New("want DOMAIN, once or several times")
		}
		conf.host.acme.Domains = append(conf.host.acme.Domains, args...)
		return nil
	},
	"acme_email": func(conf *config, args []string, _ func(string) string) error {
		return one(&conf.host.acme.Email, args, "EMAIL")
	},
	"acme_ca": func(conf *config, args []string, _ func(string) string) error {
		return one(&conf.host.acme.CA, args, "URL")
	},
	"acme_root": func(conf *config, args []string, path func(string) string) error {
		return onePath(&conf.host.acme.RootFile, args, "FILE", path)
	},
	"acme_storage": func(conf *config, args []string, path func(string) string) error {
		return onePath(&conf.host.acme.Storage, args, "DIR", path)
	},
	"acme_eab": func(conf *config, args []string, path func(string) string) error {
		if len(args) != 2 {
			return errors.New("want KEY_ID HMAC_FILE")
		}
		conf.host.acme.EABKeyID, conf.host.acme.EABKeyFile = args[0], path(args[1])
		return nil
	},
	"acme_challenge": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 || args[0] != "dns" && args[0] != "tls-alpn" {
			return errors.New("want dns or tls-alpn")
		}
		conf.host.dns01 = args[0] == "dns"
		return nil
	},
	"lane": func(conf *config, args []string, _ func(string) string) error {
		if len(args) != 1 || args[0] != "on" && args[0] != "off" {
			return errors.New("want on or off")
		}
		conf.laneOff = args[0] == "off"
		return nil
	},
	"denials_per_second": func(conf *config, args []string, _ func(string) string) error {
		return number(&conf.denials, args, "N", 0, 1_000_000)
	},
}

func optionNames() string {
	var names []string
	for option := range options {
		names = append(names, option)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func one(s *string, args []string, what string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one %s", what)
	}
	*s = args[0]
	return nil
}

func onePath(s *string, args []string, what string, path func(string) string) error {
	err := one(s, args, what)
	if err == nil {
		*s = path(*s)
	}
	return err
}

func number(n *int, args []string, what string, least, most int) error {
	if len(args) != 1 {
		return fmt.Errorf("want one %s", what)
	}
	v, err := strconv.Atoi(args[0])
	if err != nil || v < least || v > most {
		return fmt.Errorf("%q is not a number from %d to %d", args[0], least, most)
	}
	*n = v
	return nil
}

// duration reads a Go duration or a number of seconds.
func duration(d *time.Duration, args []string, least, most time.Duration) error {
	if len(args) != 1 {
		return errors.New("want one DURATION")
	}
	v, err := time.ParseDuration(args[0])
	if n, notNumber := strconv.ParseUint(args[0], 10, 31); notNumber == nil {
		v, err = time.Duration(n)*time.Second, nil
	}
	if err != nil {
		return fmt.Errorf("%q is not a duration: write 90s, 5m, 1h, or a number of seconds", args[0])
	}
	if v < least || v > most {
		return fmt.Errorf("%s is out of range: from %v to %v is possible", args[0], least, most)
	}
	*d = v
	return nil
}

func ttl(d *time.Duration, args []string) error {
	var v time.Duration
	if err := duration(&v, args, 0, 1<<31*time.Second-1); err != nil {
		return err
	}
	switch {
	case v > maxTTL:
		return fmt.Errorf("%s is longer than 1h: *dnssec* signs with an original TTL of 3600 seconds, whatever the record's is, and validators keep to that: write 1h or less", args[0])
	case v < time.Second || v%time.Second != 0:
		return fmt.Errorf("%s is out of range: whole seconds from 1s to 1h are possible", args[0])
	}
	*d = v
	return nil
}
