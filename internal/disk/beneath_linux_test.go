package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nested makes directories within each other, and returns the path of the last one. They
// can be deeper than a system call's path.
func nested(t *testing.T, base string, names ...string) string {
	t.Helper()
	root, err := os.OpenRoot(base)
	for _, name := range names {
		if err == nil {
			err = root.Mkdir(name, 0o755)
		}
		if err == nil {
			above := root
			root, err = above.OpenRoot(name)
			_ = above.Close() // it was only read
		}
	}
	if err == nil {
		err = root.WriteFile("file", []byte("12345"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = root.Close() // it was only read
	return strings.Join(names, "/")
}

// TestBeneath holds that what is opened with one system call is what os.Root opens, and
// that what that does not open is not.
func TestBeneath(t *testing.T) {
	dir := t.TempDir()
	for link, target := range map[string]string{
		"a/in": "b/file", "a/up": "../c/file", "a/dir": "../c", "a/out": "../../x", "a/absolute": "/etc/passwd", "a/b/inabsolute": dir + "/c/file",
		"a/dangling": "nothing", "a/loop": "loop", "a/b/top": "../..", "a/b/above": "../../..", "a/outandin": "../../" + filepath.Base(dir) + "/c/file",
		"a/through": "../a/dir/file",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.Symlink(target, filepath.Join(dir, link))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "c/x"), 0o755), syscall.Mkfifo(filepath.Join(dir, "c/fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"a/b/file", "c/file", "c/not utf-8 \xff"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *root {
		r, err := OS.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r.(*root)
	}
	short, long := open(), open()
	long.beneath.close() // os.Root does it all
	if _, err := short.beneath.stat(short, "a/b", true); err != nil {
		t.Logf("this kernel has no openat2, and os.Root is held against itself: %v", err)
	}
	kind := func(err error) string {
		for _, known := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, fs.ErrPermission} {
			if errors.Is(err, known) {
				return known.Error()
			}
		}
		switch {
		case err == nil:
			return ""
		case Escapes(err):
			return "escapes"
		case strings.HasSuffix(err.Error(), "too many links"): // as path/filepath calls it
			return syscall.ELOOP.Error()
		}
		return err.Error()
	}
	opened := 0
	for _, name := range []string{
		".", "a", "a/b", "a/b/file", "a/in", "a/up", "a/dir", "a/dir/file", "a/dir/x", "a/out", "a/out/file", "a/absolute", "a/b/inabsolute", "a/dangling", "a/loop",
		"a/loop/x", "a/b/top", "a/b/top/c/file", "a/b/above", "a/b/above/x", "a/outandin", "a/through", "c/fifo", "c/fifo/x", "c/not utf-8 \xff", "c/nothing", "no/thing",
		"c/" + strings.Repeat("x", 256), nested(t, filepath.Join(dir, "c"), strings.Split(strings.Repeat("deep ", 50)+"end", " ")...), "c/x/../file",
	} {
		for what, do := range map[string]func(r *root) (string, error){
			"lstat": func(r *root) (string, error) { return described(r.Lstat(name)) },
			"stat":  func(r *root) (string, error) { return described(r.Stat(name)) },
			"real":  func(r *root) (string, error) { return r.Real(name) },
			"list": func(r *root) (names string, err error) {
				err = r.List(name, func(entries []fs.DirEntry) {
					for _, e := range entries {
						names += e.Name() + e.Type().String() + " "
					}
				})
				return names, err
			},
			"open": func(r *root) (string, error) {
				f, err := r.Open(name)
				if err != nil {
					return "", err
				}
				defer f.Close()
				return described(f.Stat())
			},
			"sub": func(r *root) (string, error) {
				sub, err := r.Sub(name)
				if err != nil {
					return "", err
				}
				defer sub.Close()
				return described(sub.Stat("."))
			},
		} {
			want, wantErr := do(long)
			got, err := do(short)
			if wantErr == nil {
				opened++
			}
			if got != want || kind(err) != kind(wantErr) && !(what == "sub" && err != nil && wantErr != nil) {
				t.Errorf("%s %q is %q, %v; with os.Root %q, %v", what, name, got, err, want, wantErr)
			}
		}
	}
	if opened < 60 {
		t.Errorf("only %d were there", opened)
	}
}

func described(info fs.FileInfo, err error) (string, error) {
	if err != nil {
		return "", err
	}
	number, changed := Inode(info)
	return info.Name() + info.Mode().String() + info.ModTime().String() + changed.String() + string(rune(number)) + string(rune(info.Size())), nil
}

// TestNoDirectory holds that nobody waits for the writer of a FIFO that has taken the
// place of a directory.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(syscall.Mkfifo(dir+"/fifo", 0o600), os.Symlink("fifo", dir+"/link"), os.WriteFile(dir+"/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r, err := OS.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"fifo", "link", "file"} {
		if _, err := OS.Open(dir + "/" + name); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("opening %s: %v", name, err)
		}
		if _, err := r.Sub(name); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s as a directory: %v", name, err)
		}
		if err := r.List(name, nil); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("listing %s: %v", name, err)
		}
	}
}

// TestBeyondPathMax holds that what is deeper than the path of a system call is found,
// and watched.
func TestBeyondPathMax(t *testing.T) {
	dir := t.TempDir()
	names := make([]string, 1500)
	for i := range names {
		names[i] = "folder"
	}
	deep := nested(t, dir, names...)
	// What removes the directory of a test cannot do so at this depth.
	t.Cleanup(func() {
		for range names {
			if err := os.Rename(dir+"/folder/folder", dir+"/next"); err != nil {
				break
			}
			_ = os.Remove(dir + "/folder")
			_ = os.Rename(dir+"/next", dir+"/folder")
		}
	})
	r, err := OS.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if info, err := r.Stat(deep + "/file"); err != nil || info.Size() != 5 {
		t.Errorf("%v", err)
	}
	if info, err := OS.Lstat(dir + "/" + deep + "/file"); err != nil || info.Size() != 5 {
		t.Errorf("%v", err)
	}
	if _, err := OS.Lstat(dir + "/" + deep + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	sub, err := r.Sub(deep)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	n, err := OS.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	watch, err := n.Add(dir + "/" + deep)
	if err != nil {
		t.Fatal(err)
	}
	f, err := sub.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.(*os.File).Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	events, err := n.Read()
	if err != nil || len(events) == 0 || events[0].Watch != watch || events[0].Name != "file" {
		t.Errorf("%+v, %v", events, err)
	}
}
