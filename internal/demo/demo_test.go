package main

import (
	"strings"
	"testing"
)

// TestGuideWithoutPrograms holds that the demo does not print what cannot be run.
func TestGuideWithoutPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	d := demo{command: "build/smimea", dir: "demo", dns: "1053", https: "8443", metric: "9153"}
	guide := d.guide()
	for line := range strings.Lines(guide) {
		for _, program := range []string{"dig", "delv", "openssl", "curl"} {
			if strings.HasPrefix(line, program+" ") || strings.Contains(line, "until "+program) {
				t.Errorf("%s is not there: %s", program, line)
			}
		}
	}
	if !strings.Contains(guide, "More would be here with curl, delv, dig.") || !strings.Contains(guide, "build/smimea lookup") {
		t.Errorf("the guide is\n%s", guide)
	}
}
