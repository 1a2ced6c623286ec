package statefile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestNotItsOwn holds that what is no state is neither replaced, nor renamed, nor
// marked, nor removed, and that it is refused at the start.
func TestNotItsOwn(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"a directory":   func(path string) error { return os.Mkdir(path, 0o700) },
		"a private key": func(path string) error { return os.WriteFile(path, []byte("-----BEGIN PRIVATE KEY-----\n"), 0o600) },
		"a short file":  func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a FIFO":        func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a device":      func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3) },
		"a link to a file": func(path string) error {
			return errorsOf(os.WriteFile(path+".other", []byte("other"), 0o600), os.Symlink(path+".other", path))
		},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			p := At(path)
			if err := p.Check(); err == nil {
				t.Error("it is not refused")
			} else {
				t.Log(err)
			}
			if aside, err := p.SetAside(false); err == nil {
				t.Errorf("set aside as %s", aside)
			}
			if p.Mark(Mark{Clean: true}) == nil {
				t.Error("it is marked")
			}
			if p.Remove() == nil {
				t.Error("it is removed")
			}
			if err := write(t, path, 1); err == nil && !strings.HasPrefix(what, "a link") {
				t.Error("it is replaced")
			}
			if strings.HasPrefix(what, "a link") {
				before, _ = os.Lstat(path)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() || before.Size() != after.Size() {
				t.Errorf("it is another now: %v, %v", after, err)
			}
			if left, _ := filepath.Glob(path + ".new*"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		filepath.Join(dir, "state"):               "",
		filepath.Join(dir, "none", "state"):       "does not exist",
		filepath.Join(dir, "file", "state"):       "not a directory",
		filepath.Join("/proc", "self", "a state"): "cannot be written to",
	} {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := At(name).Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("the check has left %d files", len(files))
	}
}

// TestEmpty holds that an empty file is as good as none.
func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := At(path)
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	if _, err := p.Open(); !os.IsNotExist(err) {
		t.Errorf("it is opened: %v", err)
	}
	if err := p.Mark(Mark{}); !os.IsNotExist(err) {
		t.Errorf("it is marked: %v", err)
	}
	if aside, err := p.SetAside(false); err == nil {
		t.Errorf("set aside as %s", aside)
	}
	if err := write(t, path, 1); err != nil {
		t.Error(err)
	}
	if _, _, _, err := load(path); err != nil {
		t.Error(err)
	}
}

// TestSetAside holds that one state that is set aside does not take the place of
// another, and what a killed save has left is swept up.
func TestSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var names []string
	for n := range 3 {
		if err := write(t, path, n); err != nil {
			t.Fatal(err)
		}
		name, err := At(path).SetAside(false)
		if err != nil || slices.Contains(names, name) {
			t.Fatalf("set aside as %s after %q: %v", name, names, err)
		}
		names = append(names, name)
	}
	for n, name := range names {
		if _, _, got, err := load(name); err != nil || len(got[0]) != n {
			t.Errorf("%s has %d entries, want %d: %v", name, len(got[0]), n, err)
		}
	}
	killed, others := path+".new-1-1", path+".new-1-x"
	if err := errorsOf(os.WriteFile(killed, []byte(magic+"torn"), 0o600), os.WriteFile(others, []byte("a file of somebody else"), 0o600)); err != nil {
		t.Fatal(err)
	}
	w, err := At(path).Create(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := At(path).Sweep(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".new-*"); len(left) != 2 || !slices.Contains(left, others) {
		t.Errorf("after sweeping there are %q", left)
	}
	if err := w.Commit(0); err != nil {
		t.Errorf("what was being written was swept up: %v", err)
	}
}
