package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

var keygenVerb = verb{
	name:     "keygen",
	synopsis: "ZONE",
	summary:  "a DNSSEC key for a zone, and its DS record",
	help: `
Makes a DNSSEC key pair for a zone, as the files K<zone>+<algorithm>+<tag>.key
and .private (readable by you only) that CoreDNS's dnssec plugin and BIND read,
and prints the DS record that the parent zone must have. One key signs all (CSK).

  smimea keygen -dir /etc/coredns/keys _smimecert.example.com

In the Corefile, the name without .key or .private:

  dnssec {
      key file /etc/coredns/keys/K_smimecert.example.com.+013+12345
  }

Have the DS record put into the parent zone once the zone is served and signed.
`,
	setup: func(f *flag.FlagSet) action {
		dir := f.String("dir", ".", "the `DIRECTORY` to write the files into")
		algorithm := f.String("algorithm", "ECDSAP256SHA256", "`NAME` of the algorithm: ECDSAP256SHA256, ECDSAP384SHA384, ED25519 or RSASHA256")
		return func(u *ui, operands []string) (exit, error) { return keygen(u, operands, *dir, *algorithm) }
	},
}

// keyBits are the algorithms that CoreDNS's dnssec signs with.
var keyBits = map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256, dns.RSASHA256: 2048}

type keygenJSON struct {
	Schema  string `json:"schema"` // smimea-keygen/1
	Zone    string `json:"zone"`
	Key     string `json:"key"`     // path of the public half
	Private string `json:"private"` // path of the private half
	DNSKEY  string `json:"dnskey"`
	DS      string `json:"ds"`
}

func keygen(u *ui, operands []string, dir, algorithm string) (exit, error) {
	if len(operands) != 1 {
		return 0, usageError("one zone is wanted")
	}
	zone, err := parseZone(operands[0])
	if err != nil {
		return 0, fail(exitUsage, err)
	}
	number, ok := dns.StringToAlgorithm[strings.ToUpper(algorithm)]
	bits := keyBits[number]
	if !ok || bits == 0 {
		return 0, usageError("unknown algorithm " + quote(algorithm))
	}
	result, err := writeKey(zone, dir, number, bits)
	if err != nil {
		return 0, fail(exitCannotWrite, err)
	}
	if u.json {
		return exitOK, u.emit(result)
	}
	u.say("wrote %s and %s", result.Key, result.Private)
	u.print("%s\n", result.DS)
	return exitOK, nil
}

// writeKey makes a key and writes its files, which must not be there yet: two
// keys of one zone can have the same tag, and thus the same file name.
func writeKey(zone, dir string, algorithm uint8, bits int) (keygenJSON, error) {
	for {
		key := &dns.DNSKEY{
			Hdr:       dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
			Flags:     dns.ZONE | dns.SEP,
			Protocol:  3,
			Algorithm: algorithm,
		}
		private, err := key.Generate(bits)
		if err != nil {
			return keygenJSON{}, fmt.Errorf("making a key: %w", err)
		}
		base := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", zone, algorithm, key.KeyTag()))
		err = writeNew(base+".private", key.PrivateKeyString(private))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return keygenJSON{}, err
		}
		if err := writeNew(base+".key", key.String()+"\n"); err != nil {
			return keygenJSON{}, errors.Join(err, os.Remove(base+".private"))
		}
		return keygenJSON{
			Schema: "smimea-keygen/1", Zone: zone, Key: base + ".key", Private: base + ".private",
			DNSKEY: oneLine(key), DS: oneLine(key.ToDS(dns.SHA256)),
		}, nil
	}
}

// writeNew writes a file that only its owner can read, and must not exist.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		file.Close()
		return err
	}
	return file.Close()
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
