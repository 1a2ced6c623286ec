package certhost

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"coredns-smimea/internal/disk"
)

// normalized checks what can be checked without network.
func (a ACME) normalized() (ACME, error) {
	if len(a.Domains) == 0 {
		return a, errors.New("ACME needs at least one domain")
	}
	domains := make([]string, 0, len(a.Domains))
	for _, domain := range a.Domains {
		name, wildcard := strings.CutPrefix(domain, "*.")
		name, ok := hostName(name)
		if !ok || net.ParseIP(name) != nil {
			return a, fmt.Errorf("ACME domain %q is not a host name", domain)
		}
		if wildcard {
			if a.Challenges == nil {
				return a, fmt.Errorf("ACME domain %q: a wildcard certificate needs the DNS challenge", domain)
			}
			name = "*." + name
		}
		domains = append(domains, name)
	}
	a.Domains = domains
	if a.CA == "" {
		a.CA = certmagic.LetsEncryptProductionCA
	}
	if u, err := url.Parse(a.CA); err != nil || u.Scheme != "https" || u.Host == "" {
		return a, fmt.Errorf("ACME CA %q must be the https URL of its directory", a.CA)
	}
	if a.Storage == "" {
		return a, errors.New("ACME needs a storage directory")
	}
	if (a.EABKeyID == "") != (a.EABKeyFile == "") {
		return a, errors.New("external account binding needs both a key identifier and a file with the HMAC key")
	}
	return a, nil
}

// externalAccount reads the HMAC key; acmez wants it in base64url, unpadded.
func externalAccount(a *ACME) (*acme.EAB, error) {
	if a.EABKeyFile == "" {
		return nil, nil
	}
	data, err := disk.ReadFile(a.EABKeyFile, disk.MaxSettings)
	if err != nil {
		return nil, fmt.Errorf("reading HMAC key: %w", err)
	}
	text := strings.TrimRight(strings.TrimSpace(string(data)), "=")
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("HMAC key file %q is not one line of base64url", a.EABKeyFile)
	}
	return &acme.EAB{KeyID: a.EABKeyID, MACKey: text}, nil
}
