package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

var keygenVerb = verb{
	name:     "keygen",
	synopsis: "DOMAIN",
	summary:  "a DNSSEC key for a domain's zones, and their DS records",
	help: `
Makes a DNSSEC key pair, as the files K<domain>+<algorithm>+<tag>.key and .private
that CoreDNS's dnssec plugin and BIND read, and prints the DS record of each zone
that the key is to sign. Which zones these are, the layout says:

  sub     _smimecert.DOMAIN and _smime.DOMAIN, which are zones of their own;
          DOMAIN itself stays with its provider, who publishes the DS records
  whole   DOMAIN itself, all of which this server has
  beside  DOMAIN itself, of which another plugin of this server has the rest

A DOMAIN that begins with _smimecert or _smime is the one zone. One key signs all
of a zone (CSK).

  smimea keygen -dir /etc/coredns/keys example.com
  smimea keygen -layout whole -dir /etc/coredns/keys example.com

In the Corefile, the name without .key or .private:

  dnssec {
      key file /etc/coredns/keys/Kexample.com.+013+12345
  }

Nobody but their owner can read the files. For a server that runs as another user,
make them its own with -user, or let its group read them with -group.
Have the DS records published once the zones are served and signed: before, smimea
doctor -ns SERVER -anchor FILE.key DOMAIN says whether they are.
`,
	setup: func(f *flag.FlagSet) action {
		o := keygenOptions{}
		f.StringVar(&o.dir, "dir", ".", "the `DIRECTORY` to write the files into")
		f.StringVar(&o.algorithm, "algorithm", "ECDSAP256SHA256", "`NAME` of the algorithm: ECDSAP256SHA256, ECDSAP384SHA384, ED25519 or RSASHA256")
		f.StringVar(&o.layout, "layout", "sub", "`LAYOUT` of the domain's zones: sub, whole or beside")
		f.StringVar(&o.user, "user", "", "`USER` whom the files are to belong to: whom the server runs as")
		f.StringVar(&o.group, "group", "", "`GROUP` that may read the files")
		return func(u *ui, operands []string) (exit, error) { return keygen(u, operands, &o) }
	},
}

type keygenOptions struct {
	dir, algorithm, layout string
	user, group            string
}

// keyBits are the algorithms that CoreDNS's dnssec signs with.
var keyBits = map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256, dns.RSASHA256: 2048}

type keygenJSON struct {
	Schema  string       `json:"schema"` // smimea-keygen/1
	Zone    string       `json:"zone"`   // whose name the key has
	Key     string       `json:"key"`    // path of the public half
	Private string       `json:"private"`
	DNSKEY  string       `json:"dnskey"`
	DS      string       `json:"ds"` // of the first of zones
	Zones   []signedJSON `json:"zones"`
}

// signedJSON is a zone that the key is to sign.
type signedJSON struct {
	Zone string `json:"zone"`
	DS   string `json:"ds"`
}

func keygen(u *ui, operands []string, o *keygenOptions) (exit, error) {
	if len(operands) != 1 {
		return 0, usageError("one domain is wanted")
	}
	zone, err := parseZone(operands[0])
	if err != nil {
		return 0, fail(exitUsage, err)
	}
	zones, err := signedZones(zone, o.layout)
	if err != nil {
		return 0, err
	}
	number, ok := dns.StringToAlgorithm[strings.ToUpper(o.algorithm)]
	bits := keyBits[number]
	if !ok || bits == 0 {
		return 0, usageError("unknown -algorithm " + quote(o.algorithm) + ": want ECDSAP256SHA256, ECDSAP384SHA384, ED25519 or RSASHA256")
	}
	reader, err := readerOf(o.user, o.group)
	if err != nil {
		return 0, err
	}
	result, key, err := writeKey(zone, o.dir, number, bits, reader)
	if err != nil {
		return 0, fail(exitCannotWrite, err)
	}
	for _, zone := range zones {
		result.Zones = append(result.Zones, signedJSON{zone, dsOf(key, zone)})
	}
	result.DS = result.Zones[0].DS
	if u.json {
		return exitOK, u.emit(result)
	}
	u.say("wrote %s and %s", result.Key, result.Private)
	if o.user == "" && o.group == "" {
		u.say("only you can read them; for a server that runs as another user: chown USER %s %s", result.Key, result.Private)
	}
	parent := strings.Join(dns.SplitDomainName(zones[0])[1:], ".")
	u.say("to be published in %s, once the server answers for %s:", parent, strings.Join(zones, " and "))
	for _, line := range result.Zones {
		u.print("%s\n", line.DS)
	}
	return exitOK, nil
}

// signedZones returns the zones that a layout has in a domain.
func signedZones(zone, layout string) ([]string, error) {
	switch layout {
	case "sub":
		if first := dns.SplitDomainName(zone)[0]; first != "_smimecert" && first != "_smime" {
			return []string{"_smimecert." + zone, "_smime." + zone}, nil
		}
	case "whole", "beside":
	default:
		return nil, usageError(fmt.Sprintf("unknown layout %q: want sub, whole or beside", layout))
	}
	return []string{zone}, nil
}

// dsOf is the DS record of a key in a zone, whose name is hashed into it.
func dsOf(key *dns.DNSKEY, zone string) string {
	own := *key
	own.Hdr.Name = zone
	return oneLine(own.ToDS(dns.SHA256))
}

// A reader is who may read the files, besides who makes them.
type reader struct {
	uid, gid int // -1: as they come to be
	mode     fs.FileMode
}

// readerOf looks up a user and a group, by name or number.
func readerOf(name, group string) (reader, error) {
	r := reader{-1, -1, 0o600}
	if name != "" {
		found, err := user.Lookup(name)
		if err != nil {
			if found, err = user.LookupId(name); err != nil {
				return r, usageError("there is no user " + quote(name))
			}
		}
		r.uid, _ = strconv.Atoi(found.Uid)
		r.gid, _ = strconv.Atoi(found.Gid)
	}
	if group != "" {
		found, err := user.LookupGroup(group)
		if err != nil {
			if found, err = user.LookupGroupId(group); err != nil {
				return r, usageError("there is no group " + quote(group))
			}
		}
		r.gid, _ = strconv.Atoi(found.Gid)
		r.mode = 0o640
	}
	return r, nil
}

// writeKey makes a key and writes its files, which must not be there yet: two
// keys of one zone can have the same tag, and thus the same file name.
func writeKey(zone, dir string, algorithm uint8, bits int, r reader) (keygenJSON, *dns.DNSKEY, error) {
	for {
		key := &dns.DNSKEY{
			Hdr:       dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
			Flags:     dns.ZONE | dns.SEP,
			Protocol:  3,
			Algorithm: algorithm,
		}
		private, err := key.Generate(bits)
		if err != nil {
			return keygenJSON{}, nil, fmt.Errorf("making a key: %w", err)
		}
		base := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", zone, algorithm, key.KeyTag()))
		err = writeNew(base+".private", key.PrivateKeyString(private), r)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if _, missing := os.Stat(dir); errors.Is(missing, fs.ErrNotExist) {
			return keygenJSON{}, nil, fmt.Errorf("there is no directory %q: make it, or name another by -dir", dir)
		}
		if err != nil {
			return keygenJSON{}, nil, err
		}
		if err := writeNew(base+".key", key.String()+"\n", r); err != nil {
			return keygenJSON{}, nil, errors.Join(err, os.Remove(base+".private"))
		}
		return keygenJSON{Schema: "smimea-keygen/1", Zone: zone, Key: base + ".key", Private: base + ".private", DNSKEY: oneLine(key)}, key, nil
	}
}

// writeNew writes a file that only who is meant to can read, and must not exist.
func writeNew(path, text string, r reader) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if r.uid >= 0 || r.gid >= 0 {
		err = file.Chown(r.uid, r.gid)
	}
	if err == nil && r.mode != 0o600 {
		err = file.Chmod(r.mode)
	}
	if err == nil {
		_, err = file.WriteString(text)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// oneLine writes a record without tabs, to be copied out of a terminal.
func oneLine(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") }

// parseZone reads a zone's name: labels of letters, digits, hyphens and
// underscores, since it becomes part of a file's name. A final dot is added.
func parseZone(s string) (string, error) {
	name := dns.CanonicalName(s)
	if _, ok := dns.IsDomainName(name); !ok || s == "" || name == "." {
		return "", fmt.Errorf("%q is not the name of a zone", s)
	}
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if slices.ContainsFunc(strings.Split(strings.TrimSuffix(name, "."), "."), func(label string) bool {
		return label == "" || strings.ContainsFunc(label, odd)
	}) {
		return "", fmt.Errorf("the zone %q has characters other than letters, digits, - and _; write an internationalised one as A-labels (xn--)", s)
	}
	return name, nil
}
