package main

import (
	"encoding/json"
	"testing"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// FuzzCheckFile holds that whatever a file has, check either leaves it out with a
// reason or lists its users, and that findings are a list.
func FuzzCheckFile(f *testing.F) {
	dir := f.TempDir()
	specimens, err := testcert.Make(dir, time.Now(), "example.com", "example.org")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range specimens {
		if data, err := readRegular(dir + "/" + s.Path); err == nil && len(data) < 20_000 {
			f.Add(s.Path, data)
		}
	}
	url, err := smimea.ParseURLTemplate("https://{domain}/.well-known/smime/{file}")
	if err != nil {
		f.Fatal(err)
	}
	records := []smimea.Association{{Usage: smimea.UsageDANEEE, Selector: smimea.SelectorSPKI, Matching: smimea.MatchingSHA256}}
	now := time.Now()
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		p := &policy{Policy: smimea.Policy{Records: records, URL: url, Lower: true}, ttl: time.Hour, now: now}
		c := &checker{checkOptions: &checkOptions{soon: time.Hour}, policy: p}
		c.file(judged(directory.Judge(path, data, directory.Options{Margin: time.Hour}, now)))
		c.compare()
		c.count()
		if len(c.result.Users)+len(c.result.LeftOut) == 0 {
			t.Fatal("nothing is said of it")
		}
		for _, user := range c.result.Users {
			if user.Findings == nil {
				t.Fatal("findings are null")
			}
		}
		if _, err := json.Marshal(c.result); err != nil {
			t.Fatal(err)
		}
	})
}
