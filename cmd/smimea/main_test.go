package main

import (
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

func TestMain(m *testing.M) {
	// With the race detector each run of the command would end in a second's
	// sleep.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"smimea": main, "unmoved": unmoved})
}

// TestScripts runs testdata/*.txt. Beside the usual commands of testscript they
// have those of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Cmds:                scriptCommands,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
	})
}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// exit STATUS COMMAND... runs a command and wants this exit status. Its
	// output is in the files out and err.
	"exit": func(ts *testscript.TestScript, neg bool, args []string) {
		c := exec.Command(args[1], args[2:]...)
		c.Dir, c.Env = ts.Getenv("WORK"), environment(ts)
		stdout, err := os.Create(ts.MkAbs("out"))
		ts.Check(err)
		defer stdout.Close()
		stderr, err := os.Create(ts.MkAbs("err"))
		ts.Check(err)
		defer stderr.Close()
		c.Stdout, c.Stderr = stdout, stderr
		c.Run()
		text, _ := os.ReadFile(stderr.Name())
		ts.Logf("%s", text)
		if got := strconv.Itoa(c.ProcessState.ExitCode()); got != args[0] {
			text, _ := os.ReadFile(stdout.Name())
			ts.Logf("%s", text)
			ts.Fatalf("exit status %s; want %s", got, args[0])
		}
	},

	// cert [flags] FILE ADDRESS... makes a certificate.
	// crl FILE CERT...: the list by which the authority of all revokes; with -issuer
	// its own certificate comes with it.
	"crl": func(ts *testscript.TestScript, neg bool, args []string) {
		f := flag.NewFlagSet("crl", flag.ContinueOnError)
		issuer := f.Bool("issuer", false, "")
		ts.Check(f.Parse(args))
		var certs [][]byte
		for _, name := range f.Args()[1:] {
			block, _ := pem.Decode([]byte(ts.ReadFile(name)))
			certs = append(certs, block.Bytes)
		}
		der, err := testcert.Shared().Revoke(1, certs...)
		ts.Check(err)
		data := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
		if *issuer {
			data = append(data, testcert.PEM(testcert.Shared().Certificate)...)
		}
		ts.Check(os.WriteFile(ts.MkAbs(f.Arg(0)), data, 0o644))
	},
	"cert": func(ts *testscript.TestScript, neg bool, args []string) {
		f := flag.NewFlagSet("cert", flag.ContinueOnError)
		expired := f.Bool("expired", false, "")
		days := f.Int("days", 365, "")
		from := f.Int("from", 0, "") // days until it begins
		rsa := f.Bool("rsa", false, "")
		sign := f.Bool("sign", false, "")
		subject := f.Bool("subject", false, "")
		strict := f.Bool("strict", false, "") // claims to follow the S/MIME rules
		ts.Check(f.Parse(args))
		template := testcert.Template{Addresses: f.Args()[1:], EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
		if *rsa {
			template.Key, template.KeyUsage = testcert.RSA2048, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment
		}
		if *sign {
			template.KeyUsage = x509.KeyUsageDigitalSignature
		}
		template.NotAfter = time.Now().AddDate(0, 0, *days)
		if *from != 0 {
			template.NotBefore = time.Now().AddDate(0, 0, *from)
		}
		if *expired {
			template.NotBefore, template.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
		}
		if *strict {
			// Policy 2.23.140.1.5.1.3: mailbox validated, strict.
			template.Extensions = append(template.Extensions, testcert.Extension{ID: []int{2, 5, 29, 32}, Value: []byte{0x30, 0x0b, 0x30, 0x09, 0x06, 0x07, 0x67, 0x81, 0x0c, 1, 5, 1, 3}})
		}
		if *subject {
			for _, address := range template.Addresses {
				template.SubjectAddresses = append(template.SubjectAddresses, testcert.Text{Tag: 22, Bytes: []byte(address)})
			}
			template.Addresses = nil
		}
		path := ts.MkAbs(f.Arg(0))
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(testcert.Write(path, template))
	},

	// issue [-revoked] FILE ADDRESS makes a certificate whose issuer can be asked,
	// and has its certificate in issuer.pem.
	"issue": func(ts *testscript.TestScript, neg bool, args []string) {
		issuer := discovertest.NewIssuer(scriptTB(ts))
		ts.Check(os.WriteFile(ts.MkAbs("issuer.pem"), testcert.PEM(issuer.Certificate.Raw), 0o644))
		revoked := args[0] == "-revoked"
		if revoked {
			args = args[1:]
		}
		der := issuer.Issue(args[1], "/ocsp")
		if revoked {
			issuer.Revoke(der)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), testcert.PEM(der), 0o644))
	},

	// issuer FILE writes the certificate of the authority that issues those of cert.
	"issuer": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), testcert.PEM(testcert.Shared().Certificate), 0o644))
	},

	// specimens DIR fills a directory with one of each kind.
	"specimens": func(ts *testscript.TestScript, neg bool, args []string) {
		_, err := testcert.Make(ts.MkAbs(args[0]), time.Now(), "example.test", "example.org")
		ts.Check(err)
	},

	// web DIR serves its files below /.well-known/smime/ of example.test,
	// keys.example.test and unsigned.test, on port $PORT, with the media type
	// in the file mediatype. There are also the
	// pages /html, /endless, /slow, /down and /plain.
	"web": func(ts *testscript.TestScript, neg bool, args []string) {
		mediaType := ts.MkAbs("mediatype")
		mux := http.NewServeMux()
		files := http.StripPrefix("/.well-known/smime/", http.FileServer(http.Dir(ts.MkAbs(args[0]))))
		mux.HandleFunc("/.well-known/smime/", func(w http.ResponseWriter, r *http.Request) {
			if text, err := os.ReadFile(mediaType); err == nil {
				w.Header().Set("Content-Type", strings.TrimSpace(string(text)))
			}
			files.ServeHTTP(w, r)
		})
		mux.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>No such user</html>") })
		mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.test/", http.StatusFound)
		})
		mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
			for block := make([]byte, 64<<10); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		})
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("-----BEGIN"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		web := discovertest.ServeWeb(scriptTB(ts), mux, "example.test", "keys.example.test", "unsigned.test")
		roots := ts.MkAbs("web-roots.pem")
		ts.Check(os.WriteFile(roots, web.RootsPEM, 0o644))
		ts.Setenv("PORT", web.Port)
		ts.Setenv("SSL_CERT_FILE", roots)
		ts.Setenv("SSL_CERT_DIR", ts.MkAbs("nothing"))
	},

	// names [-lie LIE] [-expired] [-trap] FILE... serves the records of zone files, whose
	// owners are absolute, on $SERVER, with the anchors in the file anchors.
	"names": func(ts *testscript.TestScript, neg bool, args []string) {
		f := flag.NewFlagSet("names", flag.ContinueOnError)
		expired := f.Bool("expired", false, "")
		lie := f.String("lie", "", "")
		trap := f.Bool("trap", false, "") // denials as those of stock CoreDNS
		ts.Check(f.Parse(args))
		zones := []discovertest.Zone{
			{Name: "test", Records: []string{"ns IN A 127.0.0.1"}},
			{Name: "example.test", Records: []string{"@ IN A 127.0.0.1", "keys IN A 127.0.0.1"}},
			{Name: "unsigned.test", Records: []string{"@ IN A 127.0.0.1"}, Unsigned: true},
		}
		for _, name := range f.Args() {
			for line := range strings.Lines(ts.ReadFile(name)) {
				for i := range zones {
					owner, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
					if i > 0 && strings.HasSuffix(owner, "."+zones[i].Name+".") {
						zones[i].Records = append(zones[i].Records, line)
					}
				}
			}
		}
		names := discovertest.Serve(scriptTB(ts), zones...)
		if *expired {
			names.Expire("example.test")
		}
		names.Lie(lies[*lie])
		if *trap {
			names.DenyWith(dns.TypeNS, dns.TypeTXT, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeTLSA)
		}
		ts.Setenv("SERVER", names.Address)
		ts.Check(os.WriteFile(ts.MkAbs("anchors"), []byte(names.Anchors), 0o644))
	},

	// serve ZONE has CoreDNS serve the Corefile, in which PORT is the port, on
	// $SERVER.
	"serve": func(ts *testscript.TestScript, neg bool, args []string) {
		serveZone(ts, coreDNSServer, []string{args[0], "Corefile"})
	},

	// same SERVER SERVER FILE asks both for each record of a zone file, and wants
	// the same answers.
	"same": func(ts *testscript.TestScript, neg bool, args []string) {
		asked := map[string]bool{}
		for line := range strings.Lines(ts.ReadFile(args[2])) {
			fields := strings.Split(line, "\t")
			key := fields[0] + " " + fields[3]
			if fields[3] != "SMIMEA" && fields[3] != "TXT" || asked[key] {
				continue
			}
			asked[key] = true
			a, b := answer(ts, args[0], fields[0], fields[3]), answer(ts, args[1], fields[0], fields[3])
			if a != b || a == "" {
				ts.Fatalf("%s:\n%s\n%s", key, a, b)
			}
		}
		ts.Logf("%d names and types have the same answers", len(asked))
		if len(asked) == 0 {
			ts.Fatalf("there are no records")
		}
	},

	// nsd ZONE FILE and bind ZONE FILE have a real server serve a zone, on $SERVER.
	"nsd":  func(ts *testscript.TestScript, neg bool, args []string) { serveZone(ts, nsdServer, args) },
	"bind": func(ts *testscript.TestScript, neg bool, args []string) { serveZone(ts, bindServer, args) },
}

var lies = map[string]func(*dns.Msg) *dns.Msg{
	"":         nil,
	"silent":   func(*dns.Msg) *dns.Msg { return nil },
	"servfail": func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m },
	"stripped": func(m *dns.Msg) *dns.Msg {
		var kept []dns.RR
		for _, rr := range m.Answer {
			if rr.Header().Rrtype != dns.TypeRRSIG {
				kept = append(kept, rr)
			}
		}
		m.Answer = kept
		return m
	},
	"denied": func(m *dns.Msg) *dns.Msg {
		if t := m.Question[0].Qtype; t == dns.TypeSMIMEA || t == dns.TypeTXT {
			m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeNameError
		}
		return m
	},
	"forged": func(m *dns.Msg) *dns.Msg {
		for _, rr := range m.Answer {
			if record, ok := rr.(*dns.SMIMEA); ok {
				record.Certificate = strings.Repeat("ab", 32)
			}
		}
		return m
	},
}

// answer asks over TCP, and returns the records, sorted.
func answer(ts *testscript.TestScript, server, name, rrtype string) string {
	q := new(dns.Msg)
	q.SetQuestion(name, dns.StringToType[rrtype])
	m, _, err := (&dns.Client{Net: "tcp"}).Exchange(q, server)
	ts.Check(err)
	var lines []string
	for _, rr := range m.Answer {
		lines = append(lines, rr.String())
	}
	slices.Sort(lines)
	return strings.ToLower(strings.Join(lines, "\n"))
}

// environment is the script's, for programs that the script does not run itself.
func environment(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// scriptTB lets helpers of tests end with the script.
func scriptTB(ts *testscript.TestScript) testing.TB { return &scriptT{ts: ts} }

type scriptT struct {
	testing.TB
	ts *testscript.TestScript
}

func (t *scriptT) Helper()                           {}
func (t *scriptT) Cleanup(f func())                  { t.ts.Defer(f) }
func (t *scriptT) Fatal(args ...any)                 { t.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (t *scriptT) Fatalf(format string, args ...any) { t.ts.Fatalf(format, args...) }

func nsdServer(ts *testscript.TestScript, port int, zone, file string) (string, []string) {
	dir := ts.Getenv("WORK")
	config := harness.NSDConfig(dir, port, nil, harness.NSDZone(zone, file))
	path := filepath.Join(dir, "nsd.conf")
	ts.Check(os.WriteFile(path, []byte(config), 0o644))
	return "nsd", []string{"-d", "-c", path}
}

func bindServer(ts *testscript.TestScript, port int, zone, file string) (string, []string) {
	dir := ts.Getenv("WORK")
	config := fmt.Sprintf("options { directory %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion no; dnssec-validation no; notify no; allow-update { 127.0.0.1; }; };\ncontrols { };\nzone %q { type primary; file %q; };\n", dir, port, zone, file)
	path := filepath.Join(dir, "named.conf")
	ts.Check(os.WriteFile(path, []byte(config), 0o644))
	return "named", []string{"-g", "-c", path}
}

func coreDNSServer(ts *testscript.TestScript, port int, zone, file string) (string, []string) {
	text := strings.ReplaceAll(ts.ReadFile(file), "PORT", strconv.Itoa(port))
	path := ts.MkAbs("Corefile.run")
	ts.Check(os.WriteFile(path, []byte(text), 0o644))
	command := filepath.Join(ts.Getenv("WORK"), "coredns")
	build := exec.Command("go", "build", "-o", command, "./testdata/server")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("building the server: %v\n%s", err, out)
	}
	return command, []string{"-conf", path}
}

func serveZone(ts *testscript.TestScript, server func(*testscript.TestScript, int, string, string) (string, []string), args []string) {
	port := discovertest.FreePort(scriptTB(ts))
	zone, file := args[0], ts.MkAbs(args[1])
	command, arguments := server(ts, port, zone, file)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	ts.Setenv("SERVER", address)
	ts.Setenv("SERVERPORT", strconv.Itoa(port))
	discovertest.StartDaemon(scriptTB(ts), ts.Getenv("WORK"), address, zone, command, arguments...)
}
