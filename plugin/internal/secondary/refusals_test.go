package secondary

import (
	golog "log"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coredns-smimea/internal/harness"
)

// TestRefusals holds that refused transfers are told of, that a flood of them is folded,
// and that what is folded is told at the end of the minute or of the server, whichever
// comes first, also when nobody else is refused.
func TestRefusals(t *testing.T) {
	var out harness.Log
	golog.SetOutput(&out)
	defer golog.SetOutput(os.Stderr)
	said := func(part string) int {
		synctest.Wait()
		return strings.Count(out.String(), part)
	}
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		var r refusals
		refuse := func(n int) {
			for range n {
				r.tell("example.com.", "192.0.2.1", "a test")
			}
		}
		refuse(1000)
		<-time.After(refusalsEvery - time.Second)
		if got := said("Refusing"); got != refusalsLogged || said("more transfers") > 0 {
			t.Errorf("within the minute %d have a line:\n%s", got, &out)
		}
		<-time.After(2 * time.Second)
		if said("Refused 995 more transfers") != 1 {
			t.Errorf("at the end of the minute:\n%s", &out)
		}
		<-time.After(time.Hour)
		refuse(1)
		<-time.After(time.Hour)
		if said("Refusing") != refusalsLogged+1 || said("more transfers") != 1 {
			t.Errorf("of one alone:\n%s", &out)
		}
		refuse(7)
		r.close()
		if said("Refused 2 more transfers") != 1 {
			t.Errorf("at the end of the server:\n%s", &out)
		}
		refuse(1)
		r.close()
	})
}
