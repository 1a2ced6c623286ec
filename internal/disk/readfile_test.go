package disk

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadFile holds that nothing but a file is read, and nobody waited for.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("12345"), 0o600), os.WriteFile(at("empty"), nil, 0o600), os.Symlink("file", at("link")),
		syscall.Mkfifo(at("fifo"), 0o600), os.Symlink("fifo", at("link to a fifo")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		most int64
		want string
		why  string
	}{
		{at("file"), 5, "12345", ""},
		{at("link"), 6, "12345", ""},
		{at("empty"), 0, "", ""},
		{at("file"), 4, "", "larger than 4 octets"},
		{at("fifo"), 5, "", "no regular file"},
		{at("link to a fifo"), 5, "", "no regular file"},
		{"/dev/zero", 5, "", "no regular file"},
		{dir, 5, "", "is a directory"},
		{at("none"), 5, "", "no such file"},
	} {
		data, err := ReadFile(c.name, c.most)
		if string(data) != c.want || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s, %d: %q, %v", c.name, c.most, data, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.name) {
			t.Errorf("the error does not name the file: %v", err)
		}
	}
}
