package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"coredns-smimea/ldap/bridge"
)

// A directoryAt is the directory as a mail program is told of it.
type directoryAt struct {
	host, port string
	secure     bool // ldaps
	base       string
	root       string // file of the bridge's root, "" without a bridge
}

func (o *ldapOptions) directoryAt() (directoryAt, error) {
	text := defaultListen
	if len(o.listen) > 0 {
		text = o.listen[0]
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Host == "" {
		return directoryAt{}, usageError(fmt.Sprintf("-listen %s: want ldap://HOST:PORT or ldaps://HOST:PORT", quote(text)))
	}
	d := directoryAt{host: u.Hostname(), port: u.Port(), secure: u.Scheme == "ldaps", base: o.base}
	if d.port == "" {
		d.port = map[bool]string{false: "389", true: "636"}[d.secure]
	}
	if o.bridge != "" {
		// The root is made now, if it is not there: it is to be installed.
		if _, err := bridge.Open(o.bridge); err != nil {
			return d, fail(exitCannotWrite, err)
		}
		if d.root, err = filepath.Abs(filepath.Join(o.bridge, bridge.RootFile)); err != nil {
			return d, fail(exitNoInput, err)
		}
	}
	return d, nil
}

func (d directoryAt) url() string {
	scheme := "ldap"
	if d.secure {
		scheme = "ldaps"
	}
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(d.host, d.port), Path: "/" + d.base}
	return u.String() + "??sub?(objectclass=*)"
}

// settings prints what to set in a mail program, or writes it.
func settings(u *ui, o *ldapOptions) (exit, error) {
	d, err := o.directoryAt()
	if err != nil {
		return 0, err
	}
	if o.write != "" {
		if o.print != "" && o.print != "thunderbird" {
			return 0, usageError("-write-settings is for Thunderbird only")
		}
		return d.writeThunderbird(u, o.write)
	}
	print := map[string]func() string{"thunderbird": d.thunderbird, "gpgsm": d.gpgsm, "evolution": d.evolution}[o.print]
	if print == nil {
		return 0, usageError(fmt.Sprintf("unknown -print-settings %q: want thunderbird, gpgsm or evolution", o.print))
	}
	if u.json {
		return exitOK, u.emit(ldapJSON{"smimea-ldap/1", o.print, d.url(), d.host, d.port, d.base, d.root, print()})
	}
	u.print("%s", print())
	return exitOK, nil
}

type ldapJSON struct {
	Schema   string `json:"schema"` // smimea-ldap/1
	Program  string `json:"program"`
	URL      string `json:"url"`
	Host     string `json:"host"`
	Port     string `json:"port"`
	Base     string `json:"base"`
	Root     string `json:"root,omitempty"`
	Settings string `json:"settings"`
}

// prefs are Thunderbird's preferences: the directory, and that it is asked for
// the certificates of recipients.
func (d directoryAt) prefs(function string) string {
	var b strings.Builder
	for _, p := range []struct {
		name  string
		value any
	}{
		{"ldap_2.autoComplete.useDirectory", true},
		{"ldap_2.autoComplete.directoryServer", "ldap_2.servers.smimea"},
		{"ldap_2.servers.smimea.description", "S/MIME certificates (smimea)"},
		{"ldap_2.servers.smimea.dirType", 0},
		{"ldap_2.servers.smimea.filename", "smimea.sqlite"},
		{"ldap_2.servers.smimea.maxHits", 100},
		{"ldap_2.servers.smimea.uri", d.url()},
	} {
		value, _ := json.Marshal(p.value) // a string or number
		fmt.Fprintf(&b, "%s(%q, %s);\n", function, p.name, strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(string(value)))
	}
	return b.String()
}

func (d directoryAt) policies() string {
	policies := map[string]any{"policies": map[string]any{"Certificates": map[string]any{"Install": []string{d.root}}}}
	text, _ := json.MarshalIndent(policies, "", "  ") // maps and strings
	return string(text) + "\n"
}

func (d directoryAt) thunderbird() string {
	text := "// For one user: put these lines into the file user.js of the profile (Help, More\n" +
		"// Troubleshooting Information, Profile Directory) and start Thunderbird again.\n" + d.prefs("user_pref") + `
// By hand: Settings, Composition, Addressing, Directory Server, Edit Directories,
// Add: hostname ` + d.host + ", Base DN " + d.base + ", port number " + d.port + ", secure connection " + map[bool]string{false: "no", true: "yes"}[d.secure] + `.
// Then choose it under Directory Server.

// For all users of this computer: smimea ldap -write-settings /etc/thunderbird
`
	if d.root != "" {
		text += "\n// Settings, Privacy & Security, Manage Certificates, Authorities, Import, and\n// there only \"identify email users\":\n// " + d.root + "\n"
	}
	return text
}

func (d directoryAt) gpgsm() string {
	transport := "plain"
	if d.secure {
		transport = "ldaptls"
	}
	text := "# In ~/.gnupg/dirmngr.conf, or /etc/gnupg/dirmngr.conf for all. Then: gpgconf --kill dirmngr\n" +
		"ldapserver " + d.host + ":" + d.port + ":::" + d.base + ":" + transport + "\n\n" +
		"# Kleopatra: Settings, Configure Kleopatra, Directory Services, Add.\n" +
		"# To try it: gpgsm --list-external-keys '<hugh@example.com>'\n"
	if d.root != "" {
		text += "# gpgsm takes one certificate of an entry only, so that the bridge is of no use to it.\n"
	}
	return text
}

func (d directoryAt) evolution() string {
	security, method := "none", "No encryption"
	if d.secure {
		security, method = "ldaps", "LDAP over SSL"
	}
	return `# By hand: File, New, Address Book; type On LDAP Servers; server ` + d.host + ", port " + d.port + `,
# encryption "` + method + `", method Anonymous, search base ` + d.base + `, search scope Subtree;
# "Use for address completion".

# Or as the file ~/.config/evolution/sources/smimea.source:
[Data Source]
DisplayName=S/MIME certificates (smimea)
Enabled=true
Parent=ldap-stub

[Autocomplete]
IncludeMe=true

[Authentication]
Host=` + d.host + `
Port=` + d.port + `
Method=ldap/simple-anonymous

[Security]
Method=` + security + `

[LDAP Backend]
AuthMethod=anonymous
CanBrowse=false
Filter=
Limit=100
RootDn=` + d.base + `
Scope=subtree
Security=` + security + `

[Address Book]
BackendName=ldap
`
}

// writeThunderbird writes the settings for all users. A policies.json that is
// there already is somebody's, and stays.
func (d directoryAt) writeThunderbird(u *ui, dir string) (exit, error) {
	prefs := filepath.Join(dir, "pref", "smimea.js")
	policies := filepath.Join(dir, "policies", "policies.json")
	for _, name := range []string{prefs, policies} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return 0, fail(exitCannotWrite, err)
		}
	}
	if err := os.WriteFile(prefs, []byte(d.prefs("pref")), 0o644); err != nil {
		return 0, fail(exitCannotWrite, err)
	}
	u.say("%s is written", prefs)
	if d.root == "" {
		return exitOK, nil
	}
	switch err := writeAbsent(policies, d.policies()); {
	case errors.Is(err, fs.ErrExist):
		if text, readErr := os.ReadFile(policies); readErr == nil && strings.Contains(string(text), quote(d.root)) {
			return exitOK, nil
		}
		u.warn("%s is there already, and is left as it is: add to it", policies)
		u.print("%s", d.policies())
		return exitNone, nil
	case err != nil:
		return 0, fail(exitCannotWrite, err)
	}
	u.say("%s is written", policies)
	return exitOK, nil
}

// writeAbsent writes a file that all can read, and must not exist.
func writeAbsent(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
