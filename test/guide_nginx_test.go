package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"coredns-smimea/internal/harness"
)

// TestGuideNginx has nginx in front, as docs/nginx.md has it.
func TestGuideNginx(t *testing.T) {
	t.Parallel()
	steps := scripts(t, "../docs/nginx.md", 1)
	location := blocks(t, "../docs/nginx.md", "nginx", 1)[0]
	corefile := blocks(t, "../docs/nginx.md", "corefile", 1)[0]
	g := newGuide(t)
	cert{addresses: []string{"hugh@example.com"}}.write(t, g.at("/srv/certs/hugh.crt"))
	g.keys("/etc/keys", "example.com.", "Kexample.com.+013+12345")
	backend, front := fmt.Sprint(freePort(t)), freePort(t)
	corefile = strings.NewReplacer(":8080", ":"+backend, "Kexample.com", "/etc/keys/Kexample.com").Replace(corefile)
	g.serve(corefile)

	trust, key := tlsPair(t, t.TempDir(), "example.com")
	conf := g.at("/etc/nginx.conf")
	main := "pid " + g.at("/etc/nginx.pid") + ";\nerror_log stderr;\ndaemon off;\nevents {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += kind + "_temp_path " + g.at("/var/lib/"+kind) + ";\n"
	}
	server := fmt.Sprintf("server {\nlisten 127.0.0.1:%d ssl;\nserver_name example.com;\nssl_certificate %s;\nssl_certificate_key %s;\n%%s}\n}\n", front, trust, key)
	writeFile(t, conf, main+fmt.Sprintf(server, ""))
	w := &web{harness.Loopback(front), trust}
	nginx, err := harness.Start(exec.Command("nginx", "-c", conf), &harness.Log{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, "nginx", func() bool { _, err := w.handshake("example.com"); return err == nil })

	writeFile(t, conf, main+fmt.Sprintf(server, strings.Replace(location, "8080", backend, 1)))
	g.prelude = fmt.Sprintf(`nginx() { command nginx -c %s -e stderr -g "" "$@"; }
curl() { until command curl --noproxy '*' --connect-to ::%s --cacert %s -f -o /dev/null https://example.com%shugh.crt; do sleep 0.1; done 2>/dev/null
	command curl --noproxy '*' --connect-to ::%[2]s --cacert %[3]s "$@"; }`, conf, w.addr, trust, wellKnown)
	if said := g.run(steps[0]); !strings.Contains(said, "200 application/pkix-cert\n") || !strings.Contains(said, "A User") {
		t.Errorf("through nginx:\n%s", said)
	}
	if code := w.status(t, fileURL("example.com", "nobody.crt")); code != "404" {
		t.Errorf("what is not there: %s", code)
	}
}
