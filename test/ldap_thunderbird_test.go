package test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coredns-smimea/internal/harness"
	"coredns-smimea/ldap"
	"coredns-smimea/ldap/bridge"
	mail "coredns-smimea/smimea"
)

// A thunderbird is a running one, with a profile of its own, in which somebody has
// an account and a certificate, and encrypts all mail.
type thunderbird struct {
	t       *testing.T
	profile string
	*marionette
}

// startThunderbird starts one that composes a message to somebody, without a
// screen. roots are trusted for mail, prefs are lines of its user.js.
func startThunderbird(t *testing.T, roots map[string][]byte, me *authority, to, prefs string) *thunderbird {
	t.Helper()
	home := t.TempDir()
	b := &thunderbird{t: t, profile: filepath.Join(home, "profile")}
	port := freePort(t)
	writeFile(t, filepath.Join(b.profile, "user.js"), prefs+fmt.Sprintf(`
user_pref("mail.accountmanager.accounts", "account1,account2");
user_pref("mail.accountmanager.defaultaccount", "account1");
user_pref("mail.accountmanager.localfoldersserver", "server2");
user_pref("mail.account.account1.server", "server1");
user_pref("mail.account.account1.identities", "id1");
user_pref("mail.account.account2.server", "server2");
user_pref("mail.server.server1.type", "pop3");
user_pref("mail.server.server1.hostname", "127.0.0.1");
user_pref("mail.server.server1.port", 9);
user_pref("mail.server.server1.userName", "sender");
user_pref("mail.server.server1.name", "sender@example.com");
user_pref("mail.server.server1.login_at_startup", false);
user_pref("mail.server.server1.check_new_mail", false);
user_pref("mail.server.server1.directory-rel", "[ProfD]Mail/sender");
user_pref("mail.server.server2.type", "none");
user_pref("mail.server.server2.hostname", "Local Folders");
user_pref("mail.server.server2.userName", "nobody");
user_pref("mail.server.server2.name", "Local Folders");
user_pref("mail.server.server2.directory-rel", "[ProfD]Mail/Local Folders");
user_pref("mail.identity.id1.fullName", "A Sender");
user_pref("mail.identity.id1.useremail", "sender@example.com");
user_pref("mail.identity.id1.valid", true);
user_pref("mail.identity.id1.smtpServer", "smtp1");
user_pref("mail.identity.id1.encryption_cert_name", "sender");
user_pref("mail.identity.id1.encryptionpolicy", 2);
user_pref("mail.identity.id1.e2etechpref", 1);
user_pref("mail.smtpservers", "smtp1");
user_pref("mail.smtp.defaultserver", "smtp1");
user_pref("mail.smtpserver.smtp1.hostname", "127.0.0.1");
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mail.winsearch.firstRunDone", true);
user_pref("mail.rights.version", 1);
user_pref("mailnews.start_page.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("app.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("security.OCSP.enabled", 0);
user_pref("marionette.port", %d);
`, port))

	db := "sql:" + b.profile
	command(t, "certutil", "-N", "-d", db, "--empty-password")
	for name, der := range roots {
		file := filepath.Join(home, name+".der")
		writeFile(t, file, string(der))
		command(t, "certutil", "-A", "-d", db, "-n", name, "-t", ",C,", "-i", file)
	}
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	writeBundle(t, filepath.Join(home, "sender.pem"), me.user(t, "sender@example.com"))
	writeKey(t, filepath.Join(home, "sender.key"), key)
	p12 := filepath.Join(home, "sender.p12")
	command(t, "openssl", "pkcs12", "-export", "-name", "sender", "-in", filepath.Join(home, "sender.pem"), "-inkey", filepath.Join(home, "sender.key"), "-passout", "pass:x", "-out", p12)
	command(t, "pk12util", "-i", p12, "-d", db, "-W", "x")

	display := startXvfb(t)
	cmd := exec.Command("thunderbird", "--profile", b.profile, "--no-remote", "--marionette", "--remote-allow-system-access", "-compose", "to="+to)
	cmd.Env = append(os.Environ(), "HOME="+home, "DISPLAY="+display, "MOZ_CRASHREPORTER_DISABLE=1", "LANG=C.UTF-8", "GDK_BACKEND=x11", "MOZ_DISABLE_CONTENT_SANDBOX=1")
	log := &harness.Log{}
	p, err := harness.Start(cmd, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	err = p.Until("Thunderbird", harness.Patience, func() bool {
		b.marionette, err = dialMarionette(t, harness.Loopback(port))
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	return b
}

// startXvfb starts an X server without a screen, and returns its display.
func startXvfb(t *testing.T) (display string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1100x800x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	log := &harness.Log{}
	p, err := harness.Start(cmd, log)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("Xvfb: %v\n%s", p.Err(), log)
		}
	})
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return ":" + strings.TrimSpace(number)
}

// A draft is a composer's window, as it is seen.
type draft struct {
	To      string
	Encrypt bool   // is on
	Settled bool   // the recipients have been checked, and no dialog is open
	Bar     string // what its notification bar says
}

// drafts returns all composers.
func (b *thunderbird) drafts() (all []draft) {
	b.t.Helper()
	b.script(&all, `
const all = [];
const dialogs = [...Services.wm.getEnumerator(null)].some(w => w.location.href.includes("certFetchingStatus"));
for (const w of Services.wm.getEnumerator("msgcompose")) {
	if (!w.gMsgCompose || !w.document.getElementById("toAddrContainer")) continue;
	const to = [...w.document.querySelectorAll("mail-address-pill")].map(p => p.emailAddress).join(" ");
	const bar = w.gComposeNotification.allNotifications.map(n => n.messageText?.textContent ?? n.label).join(" ");
	// The bar is put there a moment after it is known that there must be one.
	const drawn = bar.includes("resolving certificate issues") == w.gEmailsWithMissingCerts.length > 0;
	all.push({to, bar, encrypt: w.gSendEncrypted, settled: drawn && !dialogs && w.checkedByTest === true});
	if (!w.checkedByTest && to && w.gSendEncrypted) {
		// Told by the window itself once all recipients have been checked.
		w.checkedByTest = "soon";
		w.document.addEventListener("encryption-state-checked", () => { w.checkedByTest = true; });
		w.checkEncryptionState("test");
	}
}
return all;`)
	return all
}

// compose opens one more composer.
func (b *thunderbird) compose(to string) {
	b.t.Helper()
	b.script(nil, `
const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
params.type = Ci.nsIMsgCompType.New;
params.format = Ci.nsIMsgCompFormat.PlainText;
params.composeFields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
params.composeFields.to = arguments[0];
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
params.identity = MailServices.accounts.allIdentities[0];
MailServices.compose.OpenComposeWindowWithParams(null, params);`, to)
}

// draftTo waits for a composer whose recipient has been looked for.
func (b *thunderbird) draftTo(address string) (found draft) {
	b.t.Helper()
	var last []draft
	if !harness.Wait(harness.Patience, nil, func() bool {
		last = b.drafts()
		for _, d := range last {
			if d.To == address && d.Settled {
				found = d
				return true
			}
		}
		return false
	}) {
		b.t.Fatalf("no composer to %s is ready: %+v", address, last)
	}
	return found
}

// stored reports whether the profile's store has a certificate of an address.
func (b *thunderbird) stored(address string) bool {
	b.t.Helper()
	cmd := exec.CommandContext(context.Background(), "certutil", "-L", "-d", "sql:"+b.profile, "--email", address)
	out, err := cmd.CombinedOutput()
	return err == nil && strings.Contains(string(out), "Certificate:")
}

// ask has Thunderbird ask another directory from now on.
func (b *thunderbird) ask(uri string) {
	b.t.Helper()
	b.script(nil, `Services.prefs.setCharPref("ldap_2.servers.smimea.uri", arguments[0]);`, uri)
}

// A fixed source has what a test puts there.
type fixed map[string][]ldap.Certificate

func (f fixed) Find(_ context.Context, a mail.Address) (ldap.Found, error) {
	return ldap.Found{Certificates: f[a.String()]}, nil
}

// TestThunderbird has an unmodified Thunderbird write to strangers.
func TestThunderbird(t *testing.T) {
	t.Parallel()
	c := newCorrespondence(t)
	middle := newAuthority(t, "Test Intermediate", c.root)
	dir := t.TempDir()
	writeBundle(t, filepath.Join(dir, "chain.pem"), middle.user(t, "chain@example.com"), middle.cert.Raw)
	bridgeDir := filepath.Join(t.TempDir(), "bridge")
	g := c.gateway(t, c.unbound, "-dir", dir, "-bridge", bridgeDir)
	prefs := command(t, builtCommand(t), "ldap", "-print-settings", "thunderbird", "-listen", "ldap://"+g.addr)
	br, err := bridge.Open(bridgeDir)
	if err != nil {
		t.Fatal(err)
	}
	known(t, g.addr, "hugh@example.com") // Thunderbird asks once
	b := startThunderbird(t, map[string][]byte{"root": c.root.cert.Raw, "bridge": br.Root()}, c.root, "hugh@example.com", prefs)

	issue := "requires resolving certificate issues"
	check := func(address string, stored, accepted bool) draft {
		t.Helper()
		d := b.draftTo(address)
		if !d.Encrypt {
			t.Errorf("%s: encryption is off", address)
		}
		if got := !strings.Contains(d.Bar, issue); got != accepted {
			t.Errorf("%s: the bar says %q", address, d.Bar)
		}
		if got := b.stored(address); got != stored {
			t.Errorf("%s: stored is %v; want %v", address, got, stored)
		}
		return d
	}
	// SMIMEA_SCREENSHOTS=../docs makes the pictures of docs/ anew.
	picture := func(name string, d draft) {
		if at := os.Getenv("SMIMEA_SCREENSHOTS"); at != "" {
			b.script(nil, `for (const w of Services.wm.getEnumerator("msgcompose")) w.resizeTo(860, 400);`)
			if err := os.WriteFile(filepath.Join(at, name), b.screenshot("return !!window.gMsgCompose && document.querySelector('mail-address-pill')?.emailAddress == arguments[0];", d.To), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	picture("thunderbird-found.png", check("hugh@example.com", true, true))
	for _, test := range []struct {
		address          string
		stored, accepted bool
	}{
		{"nobody@example.com", false, false},
		{"dave@example.net", true, true},
		{"expired@example.net", false, false},
		{"anybody@example.org", false, false},
		{"chain@example.com", true, true},
		// Of authorities that nobody knows, over the bridge.
		{"alice@example.edu", true, true},
		{"erin@example.edu", true, true},
	} {
		known(t, g.addr, test.address)
		b.compose(test.address)
		d := check(test.address, test.stored, test.accepted)
		if test.address == "nobody@example.com" {
			picture("thunderbird-nobody.png", d)
		}
	}

	// Nobody else of these authorities is believed for that, but the house's users
	// in its domain.
	alone := func(a *authority, address string) []ldap.Certificate {
		return []ldap.Certificate{{Raw: a.user(t, address)}}
	}
	carol, err := x509.ParseCertificate(c.nobody.user(t, "carol@example.edu"))
	if err != nil {
		t.Fatal(err)
	}
	cross, err := br.Cross(carol, c.nobody.cert, bridge.Mailbox("carol@example.edu"))
	if err != nil {
		t.Fatal(err)
	}
	b.ask("ldap://" + serveFixed(t, fixed{
		"carol@example.edu":   {{Raw: carol.Raw, Chain: [][]byte{cross}}}, // another mailbox's beside alice's
		"mallory@example.edu": alone(c.nobody, "mallory@example.edu"),
		"frank@example.edu":   alone(c.house, "frank@example.edu"),
		"frank@example.com":   alone(c.house, "frank@example.com"),
	}) + "/o=smimea??sub?(objectclass=*)")
	for _, test := range []struct {
		address  string
		accepted bool
	}{
		{"carol@example.edu", true}, {"mallory@example.edu", false}, {"frank@example.edu", true}, {"frank@example.com", false},
	} {
		b.compose(test.address)
		check(test.address, true, test.accepted)
	}
}

// serveFixed serves a fixed source until the test ends.
func serveFixed(t *testing.T, source fixed) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &ldap.Server{Source: source, Base: "o=smimea"}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}
