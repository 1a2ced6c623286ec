package directory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/certsource"
)

// TestNoFiles holds that what is no file, or none that anybody would serve,
// neither stops a look nor is opened.
func TestNoFiles(t *testing.T) {
	w := newWorld(t)
	w.write("good.pem")
	w.must(syscall.Mkfifo(w.at("fifo.pem"), 0o644))
	w.must(syscall.Mkfifo(w.at("fifo"), 0o644))
	l, err := net.Listen("unix", w.at("socket.pem"))
	w.must(err)
	defer l.Close()
	named := []string{"fifo.pem", "socket.pem"}
	if os.Getuid() == 0 {
		w.must(syscall.Mknod(w.at("zero.pem"), syscall.S_IFCHR|0o644, 1<<8|5)) // /dev/zero
		named = append(named, "zero.pem")
	}
	sparse, err := os.Create(w.at("sparse.pem"))
	w.must(err)
	w.must(sparse.Truncate(10 << 30))
	w.must(sparse.Close())

	w.skew = time.Second
	w.look() // which would not end if it read one of them
	w.want("good.pem")
	for _, p := range named {
		w.wantState(p, certsource.NotRegular, "")
	}
	w.wantState("sparse.pem", certsource.TooLarge, "")
	w.look()
	if w.report.Read != 0 {
		t.Errorf("%d files are read again", w.report.Read)
	}

	// A file that becomes a FIFO is no file any more.
	w.remove("good.pem")
	w.must(syscall.Mkfifo(w.at("good.pem"), 0o644))
	w.checkPaths("good.pem")
	w.want("good.pem")
	w.skew += patience
	w.checkPaths("good.pem")
	w.want()
	w.wantState("good.pem", certsource.NotRegular, "")

	if _, err := ReadFile(w.dir, "good.pem"); err == nil {
		t.Error("ReadFile reads a FIFO")
	}
	if _, err := ReadFile(w.dir, "../x.pem"); err == nil {
		t.Error("ReadFile leaves the directory")
	}
	if c, err := ReadFile(w.dir, "none.pem"); err == nil {
		t.Errorf("ReadFile of no file: %v", c)
	}
}

// inChild runs a test again in a process of its own, as nobody or with few
// descriptors: what changes the whole process.
func inChild(t *testing.T, dir string, test func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv("CERTSOURCE_CHILD"); dir != "" {
		test(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "CERTSOURCE_CHILD="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func child(t *testing.T) bool { return os.Getenv("CERTSOURCE_CHILD") != "" }

// becomeNobody gives up what root may.
func becomeNobody(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDenied holds that what may not be read stays as it was, and says so.
func TestDenied(t *testing.T) {
	dir := ""
	if !child(t) {
		if os.Getuid() == 0 {
			// Nobody has to get here.
			for p := t.TempDir(); len(p) > len(os.TempDir()); p = filepath.Dir(p) {
				os.Chmod(p, 0o755)
			}
		}
		dir = t.TempDir()
		if os.Getuid() == 0 {
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	inChild(t, dir, func(t *testing.T, dir string) {
		becomeNobody(t)
		w := newWorldAt(t, dir)
		for _, p := range []string{"a.pem", "b.pem", "sub/c.pem", "sub/deep/d.pem", ".store/e.pem", ".store/dir/f.pem"} {
			w.write(p)
		}
		w.link(".store/e.pem", "e.pem")
		w.link(".store/dir", "linked")
		chmod := func(path string, mode os.FileMode) { t.Helper(); w.must(os.Chmod(w.at(path), mode)) }
		all := []string{"a.pem", "b.pem", "sub/c.pem", "sub/deep/d.pem", "e.pem", "linked/f.pem"}
		w.look()
		w.want(all...)

		chmod("a.pem", 0)
		w.write("n.pem")
		chmod("n.pem", 0)
		w.look()
		w.want(all...)
		w.wantState("a.pem", "", certsource.Unreadable)
		w.wantState("n.pem", certsource.Unreadable, "")
		w.skew += time.Second // settled
		w.look()
		w.look()
		if w.changes > 0 {
			t.Errorf("%d changes where nothing has changed", w.changes)
		}
		chmod("a.pem", 0o400)
		chmod("n.pem", 0o400)
		w.checkPaths("a.pem", "n.pem")
		w.want(append(all, "n.pem")...)
		w.wantState("a.pem", "", "")
		w.remove("n.pem")
		w.skew += patience
		w.look()
		w.want(all...)

		for _, mode := range []os.FileMode{0, 0o400, 0o300} {
			chmod("sub", mode)
			w.look()
			w.want(all...)
			w.checkPaths("sub")
			w.want(all...)
			w.checkPaths("sub/c.pem")
			w.want(all...)
			if mode != 0o300 {
				w.wantState("sub/c.pem", "", certsource.Unreadable)
			}
			w.wantState("sub/deep/d.pem", "", certsource.Unreadable)
			chmod("sub", 0o700)
			w.look()
			w.want(all...)
			w.wantState("sub/deep/d.pem", "", "")
		}

		chmod(".store", 0)
		w.look()
		w.want(all...)
		w.wantState("e.pem", "", certsource.Unreadable)
		w.wantState("linked/f.pem", "", certsource.Unreadable)
		chmod(".store", 0o700)
		w.look()
		w.wantState("linked/f.pem", "", "")

		for _, mode := range []os.FileMode{0, 0o100, 0o400} {
			chmod(".", mode)
			w.look()
			if len(w.served) != len(all) || w.err == nil && mode != 0o400 {
				t.Errorf("DIR with mode %o: %d published, error %v", mode, len(w.served), w.err)
			}
			chmod(".", 0o700)
		}
		w.look()
		w.want(all...)
		w.wantState("a.pem", "", "")
	})
}

func newWorldAt(t *testing.T, dir string) *world {
	w := newWorld(t, func(o *Options) { o.Dir = dir })
	w.dir = dir
	return w
}

// TestNoDescriptors holds that who has no descriptor left takes nothing for gone.
func TestNoDescriptors(t *testing.T) {
	inChild(t, t.TempDir(), func(t *testing.T, dir string) {
		w := newWorldAt(t, dir)
		var all []string
		for i := range 200 {
			p := fmt.Sprintf("%d/%d.pem", i%20, i)
			w.write(p)
			all = append(all, p)
		}
		w.look()
		w.want(all...)
		next, err := os.Open(os.DevNull)
		w.must(err)
		lowest := next.Fd()
		next.Close()
		for spare := uint64(0); spare < 8; spare++ {
			var limit syscall.Rlimit
			w.must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
			few := limit
			few.Cur = uint64(lowest) + spare
			w.must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
			w.skew += time.Hour
			w.report, w.err = w.d.Look(context.Background(), w.now(), w.changed)
			w.must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
			w.check()
			if len(w.served) != len(all) {
				t.Errorf("%d of %d are published with %d descriptors, error %v", len(w.served), len(all), spare, w.err)
			}
			if spare == 0 && w.err == nil {
				t.Error("no error without descriptors")
			}
		}
		w.look()
		w.want(all...)
		if n := w.d.Failing()[certsource.Unreadable]; n > 0 {
			t.Errorf("%d are still said to fail", n)
		}
	})
}

// TestUnmounted holds that an empty mount point is not an empty directory.
func TestUnmounted(t *testing.T) {
	w := newWorld(t)
	// Where we may not mount, the directory is put in place of another one.
	mounted := false
	allowed := true
	mount := func() {
		if err := syscall.Mount("smimea-test", w.dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Logf("no mount is allowed here: %v", err)
			allowed = false
		}
		mounted = true
	}
	unmount := func() {
		t.Helper()
		if allowed {
			w.must(syscall.Unmount(w.dir, 0))
		} else {
			w.must(errors.Join(os.RemoveAll(w.dir), os.Mkdir(w.dir, 0o755)))
			w.d.device++
		}
		mounted = false
	}
	mount()
	defer func() {
		if mounted && allowed {
			syscall.Unmount(w.dir, syscall.MNT_DETACH)
		}
	}()
	w.write("a.pem")
	w.write("b.pem")
	w.look()
	w.want("a.pem", "b.pem")
	unmount()
	for range 5 { // it does not pass by itself, unlike what the guard holds back
		w.skew += time.Hour
		w.look()
		if w.err == nil || len(w.served) != 2 {
			t.Errorf("unmounted: %d published, error %v", len(w.served), w.err)
		}
	}
	mount()
	w.write("c.pem")
	w.look()
	w.want("c.pem")
	unmount()
	w.skew = 0
	w.look()
	if w.err == nil {
		t.Error("unmounted again: no error")
	}
	w.tick()
	w.put(ConfirmFile, nil)
	w.look()
	w.want()
}

// TestParserPanics holds that a mistake in the parser costs one file.
func TestParserPanics(t *testing.T) {
	w := newWorld(t)
	w.write("a.pem")
	r, err := w.d.open(time.Now())
	w.must(err)
	defer r.close()
	info, err := os.Stat(w.at("a.pem"))
	w.must(err)
	f := r.read(nil, "a.pem", "a.pem", nil, info) // nil: panics
	if f.certs != nil || f.refusal == nil || f.refusal.Reason != certsource.Malformed {
		t.Errorf("%+v", f)
	}
}
