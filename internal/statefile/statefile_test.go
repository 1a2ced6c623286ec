package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// write writes two sections of n entries each.
func write(t testing.TB, path string, n int) error {
	t.Helper()
	w, err := At(path).Create([]byte("the header"))
	if err != nil {
		return err
	}
	for kind := range uint32(2) {
		w.Section(kind + 1)
		for i := range n {
			w.Add(fmt.Appendf(nil, "%d", i), bytes.Repeat([]byte{byte(kind)}, i%200))
		}
	}
	return w.Commit(7)
}

func load(path string) (header string, mark Mark, got [2]map[string]string, err error) {
	got = [2]map[string]string{{}, {}}
	r, err := At(path).Open()
	if err != nil {
		return "", Mark{}, got, err
	}
	defer r.Close()
	take := func(m map[string]string) func(key, value []byte) error {
		return func(key, value []byte) error { m[string(key)] = string(value); return nil }
	}
	err = r.Load(map[uint32]func(key, value []byte) error{1: take(got[0]), 2: take(got[1])})
	return string(r.Header), r.Mark, got, err
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 100, 20_000} {
		path := filepath.Join(t.TempDir(), "state")
		if err := write(t, path, n); err != nil {
			t.Fatal(err)
		}
		header, mark, got, err := load(path)
		if err != nil || header != "the header" || mark != (Mark{Limit: 7}) || len(got[0]) != n || len(got[1]) != n {
			t.Fatalf("%d: header %q, %+v, %d and %d entries, error %v", n, header, mark, len(got[0]), len(got[1]), err)
		}
		for i := range n {
			if key := fmt.Sprint(i); len(got[1][key]) != i%200 || strings.Trim(got[1][key], "\x01") != "" {
				t.Fatalf("entry %s is %q", key, got[1][key])
			}
		}
		for _, mark := range []Mark{{true, 7}, {false, 1<<32 - 1}, {true, 0}} {
			if err := At(path).Mark(mark); err != nil {
				t.Fatal(err)
			}
			if _, now, again, err := load(path); err != nil || now != mark || !maps.Equal(got[0], again[0]) {
				t.Errorf("marked %+v: %+v, error %v", mark, now, err)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, error %v", info.Mode(), err)
		}
	}
}

// TestDamage changes every octet of a file, and cuts it everywhere.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := write(t, path, 10); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := load(path); !errors.As(err, new(Damage)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		if i > 0 { // an empty file is none
			check(fmt.Sprintf("cut at %d", i), whole[:i])
		}
		data := bytes.Clone(whole)
		data[i] ^= 0x10
		check(fmt.Sprintf("octet %d changed", i), data)
	}
	check("longer", append(bytes.Clone(whole), 0))
	check("twice", append(bytes.Clone(whole), whole...))
	for _, version := range []string{"1", "3"} {
		check("of another version", bytes.Replace(whole, []byte("state 2"), []byte("state "+version), 1))
	}
}

// TestBefore reads a file of the version before.
func TestBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := write(t, path, 10); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"clean", "stale"} {
		if err := os.WriteFile(path, append([]byte(before+word+"\n"), whole[len(magic)+markSize:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if header, mark, got, err := load(path); err != nil || header != "the header" || mark != (Mark{Clean: word == "clean"}) || len(got[1]) != 10 {
			t.Errorf("header %q, %+v, %d entries, error %v", header, mark, len(got[1]), err)
		}
	}
}

// TestUnsafe holds whose files are read.
func TestUnsafe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := write(t, path, 10); err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if _, _, _, err := load(path); !errors.As(err, new(Damage)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		os.Chmod(path, mode)
		refused(mode.String())
	}
	os.Chmod(path, 0o644)
	if _, _, _, err := load(path); err != nil {
		t.Error(err)
	}
	if os.Getuid() == 0 {
		os.Chown(path, 12345, -1)
		refused("another owner")
		os.Chown(path, 0, -1)
	}
	os.Rename(path, path+"2")
	os.Symlink(path+"2", path)
	refused("a link")
	if err := write(t, path, 5); err != nil { // takes the link's place
		t.Error(err)
	}
	if _, _, got, err := load(path + "2"); err != nil || len(got[0]) != 10 {
		t.Errorf("what the link led to: %d entries, error %v", len(got[0]), err)
	}
	os.Remove(path)
	syscall.Mkfifo(path, 0o600)
	refused("a FIFO")
	os.Remove(path)
	os.Mkdir(path, 0o700)
	refused("a directory")
	if err := write(t, path, 5); err == nil {
		t.Error("a directory was replaced")
	}
	if left, _ := filepath.Glob(path + ".new*"); len(left) > 0 {
		t.Errorf("what failed is left behind: %q", left)
	}
	// Whatever is in the way of the next file is not written to.
	other := filepath.Join(dir, "other")
	os.WriteFile(other, []byte("other"), 0o644)
	os.RemoveAll(path)
	os.Symlink(other, path+".new")
	if err := write(t, path, 5); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(other); string(data) != "other" {
		t.Error("written through a link")
	}
	if _, err := At(filepath.Join(dir, "none")).Open(); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// TestFull holds that a file that cannot be written leaves the one before.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := write(t, path, 10); err != nil {
		t.Fatal(err)
	}
	// A limit on the size of files is what a full disk is, for the writer.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 100_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	err := write(t, path, 20_000)
	syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("no room: %v", err)
	}
	if _, _, got, err := load(path); err != nil || len(got[0]) != 10 {
		t.Errorf("the file before: %d entries, error %v", len(got[0]), err)
	}
	if left, _ := filepath.Glob(path + ".new*"); len(left) > 0 {
		t.Errorf("what failed is left behind: %q", left)
	}
	w, err := At(path).Create(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left behind", len(files))
	}
}

func FuzzLoad(f *testing.F) {
	path := filepath.Join(f.TempDir(), "state")
	if err := write(f, path, 3); err != nil {
		f.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	f.Add(whole)
	f.Add([]byte(magic + Mark{Clean: true}.line()))
	f.Add([]byte{3, 4, 'k', 'e', 'y', 'v'})
	f.Fuzz(func(t *testing.T, data []byte) {
		// Blocks that are as they were written hide what is in them from
		// chance: entries are tried by themselves.
		_ = entries(data, func(key, value []byte) error { return nil })
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		load(path)
	})
}
