package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"coredns-smimea/internal/harness"
)

// An opensslCA is an authority that openssl keeps.
type opensslCA struct {
	*testing.T
	dir string
}

// newOpensslCA makes an authority. Its certificates say that its list is at a URL, if
// there is one.
func newOpensslCA(t *testing.T, url string) *opensslCA {
	t.Helper()
	return newNamedCA(t, "Our CA", url)
}

func newNamedCA(t *testing.T, name, url string) *opensslCA {
	t.Helper()
	ca := &opensslCA{t, t.TempDir()}
	point := ""
	if url != "" {
		point = "crlDistributionPoints = URI:" + url
	}
	writeFile(t, ca.at("ca.cnf"), fmt.Sprintf(`
[ca]
default_ca = here
[here]
database = %[1]s/index
serial = %[1]s/serial
crlnumber = %[1]s/crlnumber
new_certs_dir = %[1]s
certificate = %[1]s/ca.pem
private_key = %[1]s/ca.key
default_md = sha256
unique_subject = no
default_days = 365
default_crl_days = 7
policy = any
copy_extensions = copy
x509_extensions = user
[any]
commonName = supplied
[user]
basicConstraints = CA:FALSE
extendedKeyUsage = emailProtection
%[2]s
`, ca.dir, point))
	writeFile(t, ca.at("index"), "")
	writeFile(t, ca.at("serial"), "1000\n")
	writeFile(t, ca.at("crlnumber"), "01\n")
	command(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN="+name, "-days", "365",
		"-keyout", ca.at("ca.key"), "-out", ca.at("ca.pem"), "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	return ca
}

func (ca *opensslCA) at(name string) string { return filepath.Join(ca.dir, name) }

func (ca *opensslCA) read(name string) string {
	ca.Helper()
	data, err := os.ReadFile(ca.at(name))
	if err != nil {
		ca.Fatal(err)
	}
	return string(data)
}

// issue returns a certificate for an address of a user, with the authority's after it.
func (ca *opensslCA) issue(local string) string {
	ca.Helper()
	command(ca.T, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN="+local,
		"-addext", "subjectAltName=email:"+local+"@example.com", "-keyout", ca.at("user.key"), "-out", ca.at("user.csr"))
	command(ca.T, "openssl", "ca", "-batch", "-notext", "-config", ca.at("ca.cnf"), "-in", ca.at("user.csr"), "-out", ca.at(local+".pem"))
	return ca.read(local+".pem") + ca.read("ca.pem")
}

func (ca *opensslCA) revoke(local, reason string) {
	ca.Helper()
	command(ca.T, "openssl", "ca", "-config", ca.at("ca.cnf"), "-revoke", ca.at(local+".pem"), "-crl_reason", reason)
}

// unhold makes all that is revoked good again, which openssl has no command for.
func (ca *opensslCA) unhold() {
	ca.Helper()
	var all strings.Builder
	for line := range strings.Lines(ca.read("index")) {
		fields := strings.Split(line, "\t")
		fields[0], fields[2] = "V", ""
		all.WriteString(strings.Join(fields, "\t"))
	}
	writeFile(ca.T, ca.at("index"), all.String())
}

// list returns the authority's list as it is now.
func (ca *opensslCA) list() string {
	ca.Helper()
	command(ca.T, "openssl", "ca", "-gencrl", "-config", ca.at("ca.cnf"), "-out", ca.at("crl.pem"))
	return ca.read("crl.pem")
}

// TestRevocation revokes a certificate of an authority that openssl keeps, by a list in
// a file: it is withdrawn, comes back when it is held no more, and stays withdrawn over
// a restart that does not find the file.
func TestRevocation(t *testing.T) {
	t.Parallel()
	ca, stranger := newOpensslCA(t, ""), newOpensslCA(t, "")
	r := newRestarted(t, true)
	lists := t.TempDir()
	ours, theirs, whose := filepath.Join(lists, "ours.pem"), filepath.Join(lists, "theirs.pem"), filepath.Join(lists, "whose.pem")
	put := func(path, list string) {
		writeFile(t, path+".new", list)
		r.must(os.Rename(path+".new", path))
	}
	data := map[string]string{}
	for _, user := range []string{"alice", "bob"} {
		writeFile(t, r.at(user+".pem"), ca.issue(user))
		data[user] = opensslData(t, ca.at(user+".pem"), 1, 1)
		stranger.issue(user) // with the same serial number
	}
	put(ours, ca.list())
	// A stranger's list has no effect, whether its authority's certificate comes with
	// it or not, though the name is the same.
	stranger.revoke("bob", "keyCompromise")
	list := stranger.list()
	put(theirs, list+stranger.read("ca.pem"))
	put(whose, list)
	r.options = "reload 200ms\nrevocation " + ours + "\nrevocation " + theirs + " " + whose
	r.start()
	r.wait("at first", data)
	waitFor(t, "the strangers' lists", func() bool {
		return r.metric(`crl_failures_total{list="`+whose) != "" && r.metric(`crl_next_update_timestamp_seconds{list="`+theirs) != ""
	})

	ca.revoke("alice", "certificateHold")
	put(ours, ca.list())
	r.wait("revoked", map[string]string{"alice": gone, "bob": data["bob"]})
	host, port, _ := strings.Cut(r.addr, ":")
	if out := command(t, "dig", "@"+host, "-p", port, hashOwner("alice", "example.com."), "SMIMEA"); !strings.Contains(out, "status: "+gone) {
		t.Errorf("dig says\n%s", out)
	}
	if out := command(t, "dig", "+tcp", "+short", "@"+host, "-p", port, hashOwner("bob", "example.com."), "SMIMEA"); !strings.HasPrefix(out, "3 1 1 ") {
		t.Errorf("dig says of who is not revoked\n%s", out)
	}
	waitFor(t, "the metric", func() bool { return r.metric("revoked_certificates") == "1" })
	for _, want := range []string{"the issuer has revoked the certificate (on ", "certificateHold", `"` + whose + `" does not count`, "signature"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, r.log)
		}
	}
	ca.unhold()
	put(ours, ca.list())
	r.wait("held no more", data)
	ca.revoke("alice", "keyCompromise")
	put(ours, ca.list())
	r.wait("revoked again", map[string]string{"alice": gone, "bob": data["bob"]})
	// One that was renewed stays published beside the new one for an hour, but not
	// once it is revoked.
	writeFile(t, r.at("carol.pem"), ca.issue("carol"))
	first, old := opensslData(t, ca.at("carol.pem"), 1, 1), ca.read("carol.pem")
	r.wait("another", map[string]string{"carol": first})
	writeFile(t, r.at("carol.pem"), ca.issue("carol"))
	renewed := opensslData(t, ca.at("carol.pem"), 1, 1)
	waitFor(t, "both of carol's", func() bool {
		got := r.served("carol")
		return strings.Contains(got, first) && strings.Contains(got, renewed)
	})
	writeFile(t, ca.at("carol.pem"), old)
	ca.revoke("carol", "superseded")
	put(ours, ca.list())
	r.wait("the old one revoked", map[string]string{"carol": renewed})
	r.settled()
	r.stop(syscall.SIGTERM)

	for _, path := range []string{ours, theirs, whose} {
		r.must(os.Remove(path))
	}
	r.start()
	r.wait("without the files", map[string]string{"alice": gone, "bob": data["bob"]})
	waitFor(t, "the look", func() bool { return r.metric("look_duration_seconds_count") != "" })
	if read := r.metric("files_read_total"); read != "1" { // that of bob, whose issuer and serial number a stranger's list has
		t.Errorf("%s files were read again", read)
	}
	if got := r.served("alice"); got != gone {
		t.Errorf("after the look there is %q", got)
	}
	if !strings.Contains(r.log.String(), "the last good one") {
		t.Errorf("the log does not say that the last list counts:\n%s", r.log)
	}
	// A torn list changes nothing either.
	put(ours, ca.list()[:200])
	waitFor(t, "the torn list", func() bool { return strings.Contains(r.log.String(), "damaged") })
	put(ours, "")
	r.wait("torn", map[string]string{"alice": gone, "bob": data["bob"]})
}

// TestRevocationIssuer has the issuer's certificate neither beside the list nor in the
// users' files: one of chain will do, also if that comes with a reload.
func TestRevocationIssuer(t *testing.T) {
	t.Parallel()
	ca := newOpensslCA(t, "")
	l := &liveDir{T: t, dir: t.TempDir()}
	ca.issue("alice")
	writeFile(t, filepath.Join(l.dir, "alice.pem"), ca.read("alice.pem"))
	data := map[string]string{"alice": opensslData(t, ca.at("alice.pem"), 1, 1)}
	ca.revoke("alice", "keyCompromise")
	conf, list := filepath.Join(t.TempDir(), "Corefile"), filepath.Join(t.TempDir(), "list.pem")
	writeFile(t, list, ca.list())
	port, http := freePort(t), harness.Loopback(freePort(t))
	corefile := func(more string) {
		writeFile(t, conf, strings.ReplaceAll(block("_smimecert.example.com _smime.example.com",
			"smimea "+l.dir+" {\nreload 200ms\nhttp "+http+"\nrevocation "+list+"\n"+more+"}"), "PORT", strconv.Itoa(port)))
	}
	corefile("")
	s := startConf(t, conf, port)
	l.addr = s.addr
	waitFor(t, "the refusal", func() bool { return strings.Contains(s.log.String(), "its issuer's certificate is not known") })
	l.wait("without the issuer", data)
	// chain takes intermediate authorities only: now somebody has certified ours.
	root := newNamedCA(t, "Our Root", "")
	command(t, "openssl", "req", "-new", "-key", ca.at("ca.key"), "-subj", "/CN=Our CA", "-out", ca.at("ca.csr"),
		"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	command(t, "openssl", "x509", "-req", "-in", ca.at("ca.csr"), "-CA", root.at("ca.pem"), "-CAkey", root.at("ca.key"), "-set_serial", "2",
		"-copy_extensions", "copy", "-days", "365", "-out", ca.at("middle.pem"))
	corefile("chain " + ca.at("middle.pem") + "\n")
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	l.wait("with the issuer", map[string]string{"alice": gone})
}

// TestRevocationPoints has the list fetched from where the certificates say that it is,
// and restarts without the server there.
func TestRevocationPoints(t *testing.T) {
	t.Parallel()
	var list []byte
	asked := make(chan bool, 100)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(list)
		asked <- true
	}))
	defer web.Close()
	ca := newOpensslCA(t, web.URL+"/ca.crl")
	r := newRestarted(t, true)
	data := map[string]string{}
	for _, user := range []string{"alice", "bob"} {
		writeFile(t, r.at(user+".pem"), ca.issue(user))
		data[user] = opensslData(t, ca.at(user+".pem"), 1, 1)
	}
	ca.revoke("alice", "keyCompromise")
	ca.list()
	command(t, "openssl", "crl", "-in", ca.at("crl.pem"), "-outform", "DER", "-out", ca.at("crl.der"))
	list = []byte(ca.read("crl.der"))

	r.options = "reload 200ms\nrevocation cdp"
	r.start()
	waitFor(t, "the refusal", func() bool { return strings.Contains(r.log.String(), "not a public one") })
	r.wait("what cannot be asked", data)
	r.stop(syscall.SIGTERM)

	r.options = "reload 200ms\nrevocation cdp private"
	r.start()
	r.wait("fetched", map[string]string{"alice": gone, "bob": data["bob"]})
	looks := func() int {
		n, _ := strconv.Atoi(r.metric("look_duration_seconds_count"))
		return n
	}
	before := looks()
	waitFor(t, "more looks", func() bool { return looks() > before+2 })
	if n := len(asked); n != 1 {
		t.Errorf("the list of two certificates was fetched %d times", n)
	}
	r.stop(syscall.SIGTERM)

	web.Close()
	r.start()
	r.wait("without the server", map[string]string{"alice": gone, "bob": data["bob"]})
	waitFor(t, "the failure", func() bool { return r.metric("crl_failures_total{") == "1" })
	if got := r.served("alice"); got != gone {
		t.Errorf("after the failure there is %q", got)
	}
}

// TestRevocationHeld holds that a list that would withdraw nearly all waits for three
// looks.
func TestRevocationHeld(t *testing.T) {
	t.Parallel()
	ca := newOpensslCA(t, "")
	r := newRestarted(t, false)
	for i := range 21 {
		user := fmt.Sprint("user", i)
		writeFile(t, r.at(user+".pem"), ca.issue(user))
	}
	list := ca.at("list.pem")
	writeFile(t, list, ca.list())
	r.options = "reload 1s\nrevocation " + list + "\nroots " + ca.at("ca.pem")
	r.start()
	waitFor(t, "all users", func() bool { return r.served("user20") != gone })
	for i := range 21 {
		ca.revoke(fmt.Sprint("user", i), "superseded")
	}
	writeFile(t, list, ca.list())
	waitFor(t, "what is held back", func() bool {
		there := r.served("user0") != gone
		held := r.metric("held_withdrawals") == "21"
		if held && !there {
			t.Error("withdrawn though it is held back")
		}
		return held || !there // which is too late to see it held back, and the log has it
	})
	waitFor(t, "the end", func() bool { return r.served("user0") == gone && r.served("user20") == gone })
	waitFor(t, "the metric of what is held back no more", func() bool { return r.metric("held_withdrawals") == "0" && r.metric("revoked_certificates") == "21" })
	if n := strings.Count(r.log.String(), "Holding back the revocation of 21 of 21"); n != 1 {
		t.Errorf("said %d times\n%s", n, r.log)
	}
}

// TestRevocationSyntax holds that what is written wrongly is told.
func TestRevocationSyntax(t *testing.T) {
	for options, want := range map[string]string{
		"revocation":                         "want FILE",
		"revocation cdp public":              "after cdp there is private",
		"revocation a.crl\nrevocation a.crl": "is there twice",
		"revocation http://ca.example/a.crl": "is no file",
	} {
		_, err := tryServer(t, block("example.com", "smimea "+t.TempDir()+" {\n"+options+"\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want it to say %q", options, err, want)
		}
	}
}
