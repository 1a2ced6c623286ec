package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/internal/testcert"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestManualNamesAllFlags holds that no verb and flag is missing in the manual.
func TestManualNamesAllFlags(t *testing.T) {
	manual := readFile(t, "smimea.1")
	for _, v := range verbs {
		if !strings.Contains(manual, ".Ss "+v.name+"\n") {
			t.Errorf("smimea.1 has no section on %s", v.name)
		}
		v.flags(nil).VisitAll(func(option *flag.Flag) {
			if !regexp.MustCompile(`(?m)^\.It Fl ` + regexp.QuoteMeta(option.Name) + `\b`).MatchString(manual) {
				t.Errorf("smimea.1 does not say what -%s of %s does", option.Name, v.name)
			}
		})
	}
	schemas := regexp.MustCompile(`"(smimea-[a-z]+/[0-9]+)"`)
	described := readFile(t, "smimea-json.5")
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		for _, match := range schemas.FindAllStringSubmatch(readFile(t, source), -1) {
			if !strings.Contains(described, ".Ss "+match[1]+"\n") {
				t.Errorf("smimea-json.5 does not describe %s", match[1])
			}
		}
	}
}

// TestManualIsWellFormed has groff read the manuals, with all its warnings.
func TestManualIsWellFormed(t *testing.T) {
	out, err := exec.Command("groff", "-mdoc", "-Tutf8", "-ww", "-z", "smimea.1", "smimea-json.5").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

// TestManualExamples runs every command that the manual and the help texts
// show, in a small Internet in which example.com is served.
func TestManualExamples(t *testing.T) {
	commands := regexp.MustCompile(`(?m)^\.Dl (.*)$`).FindAllStringSubmatch(readFile(t, "smimea.1"), -1)
	if len(commands) < 10 {
		t.Fatalf("the manual has %d commands", len(commands))
	}
	for _, v := range verbs {
		commands = append(commands, regexp.MustCompile(`(?m)^  (smimea .*)$`).FindAllStringSubmatch(v.help, -1)...)
	}
	prelude := manualWorld(t)
	for _, command := range commands {
		t.Run(command[1], func(t *testing.T) {
			c := exec.Command("sh", "-ec", prelude+elsewhere.Replace(command[1]))
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// elsewhere leads the examples' paths into the test's folder, which is theirs.
var elsewhere = strings.NewReplacer("/etc/smime", "smime", "/etc/thunderbird", "thunderbird", "/etc/coredns/keys", "keys", "/etc/bash_completion.d", "bash_completion.d",
	"/usr/local/share/zsh/site-functions", "site-functions", "/etc/fish/completions", "completions", " && mail...", "", " || mail...", "", " -ns 192.0.2.53", "")

// manualWorld makes what the examples need, and returns shell functions that
// lead them there.
func manualWorld(t *testing.T) (prelude string) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"smime", "keys", "site-functions", "completions", "bash_completion.d"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := testcert.Write(filepath.Join(dir, "smime/hugh.crt"), testcert.Template{Addresses: []string{"hugh@example.com"}, Key: testcert.P256}); err != nil {
		t.Fatal(err)
	}
	web := discovertest.ServeWeb(t, http.StripPrefix("/.well-known/smime/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pkix-cert")
		http.ServeFile(w, r, filepath.Join(dir, "smime", filepath.Base(r.URL.Path)))
	})), "example.com")
	records := runSmimea(t, dir, "records", "-url", "https://{domain}:"+web.Port+"/.well-known/smime/{file}", "smime")
	names := discovertest.Serve(t, discovertest.Zone{Name: "example.com", Records: append(strings.Split(records, "\n"), "@ IN A 127.0.0.1")})
	for name, text := range map[string]string{"roots.pem": string(web.RootsPEM), "anchors": names.Anchors, "message": "Hello\n", "Kexample.com.+013+12345.key": names.Anchors} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(`
cd %[1]q
export SSL_CERT_FILE=roots.pem
PATH=%[2]q:$PATH
# The examples ask the Internet; this one is elsewhere.
smimea() {
	verb=$1; shift
	case $verb in
	lookup) command smimea lookup -server %[3]s -anchor anchors -allow-private "$@" ;;
	doctor) command smimea doctor -server %[3]s -anchor anchors -allow-private -ns %[3]s "$@" ;;
	*) command smimea "$verb" "$@" ;;
	esac
}
nsupdate() { cat; }
`, dir, smimeaPath(t), names.Address)
}

// smimeaPath is a folder with this command in it.
func smimeaPath(t *testing.T) string { return commandPath(t, "smimea") }

// commandPath is a folder with a command of TestMain's in it.
func commandPath(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// testscript.Main makes the test binary be the command whose name it has.
	if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runSmimea(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command(filepath.Join(smimeaPath(t), "smimea"), args...)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		t.Fatalf("smimea %q: %v", args, err)
	}
	return string(out)
}
