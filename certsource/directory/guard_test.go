package directory

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"coredns-smimea/certsource"
)

// guarded is a world of n certificates.
func guarded(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t)
	for i := range n {
		w.write(fmt.Sprintf("%d.pem", i))
	}
	w.look()
	w.skew += 2 * time.Minute // another window
	return w
}

func (w *world) removeRange(from, to int) {
	w.Helper()
	for i := from; i < to; i++ {
		w.remove(fmt.Sprintf("%d.pem", i))
	}
}

func (w *world) wantHeld(held, published int) {
	w.Helper()
	if w.report.Held != held || w.d.Published() != published {
		w.Errorf("%d are held back, %d published; want %d, %d", w.report.Held, w.d.Published(), held, published)
	}
}

// renameDir moves all certificates of a directory into one below it.
func renameDir(dir, sub string) error {
	return exec.Command("sh", "-c", "mkdir "+dir+"/"+sub+" && mv "+dir+"/*.pem "+dir+"/"+sub).Run()
}

func renameDirBack(dir, sub string) error {
	return exec.Command("sh", "-c", "mv "+dir+"/"+sub+"/*.pem "+dir).Run()
}

func TestGuard(t *testing.T) {
	t.Run("20 at once", func(t *testing.T) {
		w := guarded(t, 20)
		w.removeRange(0, 20)
		w.look()
		w.wantHeld(0, 0)
	})
	t.Run("half of them", func(t *testing.T) {
		w := guarded(t, 40)
		w.removeRange(0, 20)
		w.look()
		w.wantHeld(0, 20)
	})
	t.Run("more than half, for three looks", func(t *testing.T) {
		w := guarded(t, 40)
		w.put("refused.pem", nil)
		w.look()
		w.skew += 2 * time.Minute
		w.removeRange(0, 21)
		w.remove("refused.pem")
		w.look()
		w.wantHeld(21, 40)
		if failing := w.d.Failing(); len(failing) != 1 || failing[certsource.HeldBack] != 21 {
			t.Errorf("what is held back is not told, or what is not published is held back too: %v", failing)
		}
		for range 5 { // notifications
			w.skew += time.Second
			w.look()
			w.wantHeld(21, 40)
		}
		w.checkPaths("0.pem", "1.pem") // that few at once may go
		w.wantHeld(21, 38)
		w.skew += time.Minute
		w.look()
		w.wantHeld(0, 19) // 19 of 38 are not more than half
	})
	t.Run("the same for three looks", func(t *testing.T) {
		w := guarded(t, 40)
		w.removeRange(0, 30)
		w.look()
		w.wantHeld(30, 40)
		w.skew += time.Minute
		w.removeRange(30, 31)
		w.look() // not the same
		w.wantHeld(31, 40)
		w.skew += time.Minute
		w.look()
		w.wantHeld(31, 40)
		w.skew += time.Minute
		w.look()
		w.wantHeld(0, 9)
	})
	t.Run("back again", func(t *testing.T) {
		w := guarded(t, 40)
		w.must(renameDir(w.dir, ".away"))
		w.look()
		for range 2 { // the second look makes nothing known again
			if w.d.Failing()[certsource.HeldBack] != 40 {
				t.Errorf("failing are %v", w.d.Failing())
			}
			if w.look(); w.changes != 0 {
				t.Errorf("%d changes are made known again", w.changes)
			}
		}
		w.wantHeld(40, 40)
		w.must(renameDirBack(w.dir, ".away"))
		w.look()
		w.wantHeld(0, 40)
	})
	t.Run("by a check", func(t *testing.T) {
		w := guarded(t, 40)
		w.removeRange(0, 30)
		paths := make([]string, 30)
		for i := range paths {
			paths[i] = fmt.Sprintf("%d.pem", i)
		}
		w.checkPaths(paths...)
		w.wantHeld(30, 40)
		w.write("new.pem")
		w.checkPaths("new.pem")
		w.wantHeld(30, 41)
		w.look()
		w.wantHeld(30, 41)
	})
	t.Run("piece by piece in one window", func(t *testing.T) {
		w := guarded(t, 40)
		for i := range 4 {
			w.removeRange(i*5, i*5+5)
			w.look()
		}
		w.wantHeld(0, 20)
		w.removeRange(20, 25)
		w.look()
		w.wantHeld(5, 20)
		w.skew += time.Minute
		w.look() // a new window, of 20
		w.wantHeld(0, 15)
	})
	t.Run("confirmed", func(t *testing.T) {
		w := guarded(t, 40)
		w.skew = 0
		w.put(ConfirmFile, nil)
		w.tick()
		w.removeRange(0, 30)
		w.look()
		w.wantHeld(30, 40)
		w.tick()
		w.put(ConfirmFile, nil)
		w.look()
		w.wantHeld(0, 10)
		for i := 40; i < 80; i++ {
			w.write(fmt.Sprintf("%d.pem", i))
		}
		w.look()
		w.tick()
		w.removeRange(40, 80)
		w.look()
		if w.report.Held != 40 {
			t.Error("the file confirms what came after it")
		}
	})
	t.Run("moved", func(t *testing.T) {
		w := guarded(t, 40)
		w.must(renameDir(w.dir, "sub"))
		w.look()
		w.wantHeld(0, 40)
		if w.served["sub/7.pem"] == [32]byte{} {
			t.Error("not at its new path")
		}
	})
	t.Run("refused", func(t *testing.T) {
		w := guarded(t, 40)
		for i := range 30 {
			w.write(fmt.Sprintf("%d.pem", i), authority)
		}
		w.look()
		w.skew += patience
		w.look()
		w.wantHeld(30, 40)
		w.skew += time.Minute
		w.look()
		w.skew += time.Minute
		w.look()
		w.wantHeld(0, 10)
	})
	t.Run("100 percent", func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.MaxWithdraw = 100 })
		for range 3 {
			for i := range 30 {
				w.write(fmt.Sprintf("%d.pem", i))
			}
			w.look()
			w.removeRange(0, 30)
			w.look()
			w.wantHeld(0, 30) // somebody may be moving them
			w.skew += patience
			w.look()
			w.wantHeld(0, 0)
		}
	})
}
