package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

const strangers = "../docs/encrypt-to-strangers.md"

// TestStrangersPage runs all commands of the page on encrypting to strangers, in
// its order, in an Internet in which hugh@example.com is to be found.
func TestStrangersPage(t *testing.T) {
	t.Parallel()
	c := newCorrespondence(t)
	dir := t.TempDir()
	port := portOf(harness.Loopback(freePort(t)))
	world := fmt.Sprintf("-server %s -anchor %s -roots %s -allow-private", c.unbound, c.anchors, c.roots)
	writeFile(t, filepath.Join(dir, "bin/smimea"), fmt.Sprintf(`#!/bin/sh
case "$*" in
ldap) exec %[1]s ldap -listen ldap://127.0.0.1:%[2]s %[3]s ;;
lookup*) shift; exec %[1]s lookup %[3]s "$@" ;;
esac
exec %[1]s "$@"
`, builtCommand(t), port, world))
	if err := os.Chmod(filepath.Join(dir, "bin/smimea"), 0o755); err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.NewReplacer("3890", port, "/etc/thunderbird", filepath.Join(dir, "thunderbird"), "/var/lib/smimea", filepath.Join(dir, "lib"))
	shell := func(text string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", elsewhere.Replace(text))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "HOME="+dir, "SSL_CERT_FILE="+c.trust)
		cmd.WaitDelay = time.Minute
		return cmd
	}
	var commands []string
	for _, f := range fences(t, strangers) {
		if f.language == "sh" {
			commands = append(commands, strings.Split(strings.TrimSpace(f.text), "\n")...)
		}
	}
	if len(commands) < 8 || commands[0] != "smimea ldap" {
		t.Fatalf("the commands are %q", commands)
	}
	log := &harness.Log{}
	server := shell("exec " + commands[0])
	p, err := harness.Start(server, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Until("the LDAP server", harness.Patience, func() bool { return listening.MatchString(log.String()) }); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands[1:] {
		out, err := shell(command).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		switch {
		case strings.HasPrefix(command, "ldapsearch"):
			// Comments and folded lines, as people see them.
			ldif := strings.ReplaceAll(string(out), "\n ", "")
			if got := certificatesIn(t, ldif, "userCertificate;binary"); len(got) != 1 || !bytes.Equal(got[0], c.hugh) {
				t.Errorf("%s:\n%s", command, out)
			}
		case strings.HasPrefix(command, "smimea lookup"):
			if !strings.Contains(string(out), "BEGIN CERTIFICATE") {
				t.Errorf("%s:\n%s", command, out)
			}
		}
	}
	for _, file := range []string{"thunderbird/pref/smimea.js", "thunderbird/policies/policies.json", "lib/smimea-bridge.crt", ".config/smimea/smimea-bridge.key"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// TestStrangersUnits has systemd read the units of the page, those for a user and the
// changes to those of the package.
func TestStrangersUnits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	user, system := blocks(t, strangers, "ini", 2), blocks(t, strangers, "systemd", 2)
	var mine, packaged []string
	for i, ending := range []string{"socket", "service"} {
		unit := filepath.Join(dir, "user", "smimea-ldap."+ending)
		writeFile(t, unit, strings.Replace(user[i], "=smimea ", "="+builtCommand(t)+" ", 1))
		mine = append(mine, unit)

		of, err := os.ReadFile("../packaging/smimea-ldap." + ending)
		if err != nil {
			t.Fatal(err)
		}
		unit = filepath.Join(dir, "system", "smimea-ldap."+ending)
		writeFile(t, unit, strings.Replace(string(of), "/usr/bin/smimea ", builtCommand(t)+" ", 1))
		writeFile(t, filepath.Join(unit+".d", "many.conf"), system[i])
		packaged = append(packaged, unit)
	}
	verifyUnits(t, "smimea-ldap", append([]string{"--user"}, mine...)...)
	verifyUnits(t, "smimea-ldap", append([]string{"--man=no"}, packaged...)...)
}

// verifyUnits has systemd read units whose names begin alike. Of a key that it does not
// know it only speaks, as of other units of the machine.
func verifyUnits(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), name) {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

// TestStrangersPictures holds that the page shows the pictures that are there.
func TestStrangersPictures(t *testing.T) {
	text, err := os.ReadFile(strangers)
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`\]\(([^)]+\.png)\)`).FindAllStringSubmatch(string(text), -1)
	if len(shown) != 2 {
		t.Errorf("%d pictures are shown", len(shown))
	}
	for _, match := range shown {
		picture, err := os.ReadFile(filepath.Join("../docs", match[1]))
		if err != nil || !bytes.HasPrefix(picture, []byte("\x89PNG")) || len(picture) > 100<<10 {
			t.Errorf("%s: %v, or no small PNG", match[1], err)
		}
	}
}
