package directory

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"

	"coredns-smimea/certsource"
)

// said returns remarks in short.
func said(list []Remark) (out []string) {
	for _, r := range list {
		text := fmt.Sprintf("%d %s", r.Kind, r.Path)
		if r.More > 0 {
			text += fmt.Sprintf("+%d", r.More)
		}
		if r.Refusal != nil {
			text += " " + string(r.Refusal.Reason)
		}
		out = append(out, text)
	}
	return out
}

func (w *world) wantRemarks(want ...string) {
	w.Helper()
	got := said(w.d.Remarks())
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("remarks are %q, want %q", got, want)
	}
}

// TestRemarks holds what is said of files, once for each change, and that much
// that is alike is said at once.
func TestRemarks(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxWithdraw = 100 })
	w.write("a.pem")
	w.put("b.pem", []byte("text"))
	w.look()
	w.wantRemarks("0 b.pem no_certificate")
	w.look()
	w.wantRemarks()
	w.put("a.pem", nil)
	w.look()
	w.wantRemarks("1 a.pem malformed")
	w.write("a.pem")
	w.look()
	w.wantRemarks("2 a.pem")
	w.remove("a.pem")
	w.remove("b.pem") // published nothing
	w.look()
	w.wantRemarks("3 a.pem")
	for i := range 1000 {
		w.put(fmt.Sprintf("%d.pem", i), []byte("text"))
		w.put(fmt.Sprintf("torn%d.pem", i%11), nil)
	}
	w.look()
	got := said(w.d.Remarks())
	if len(got) != 11+11 || !slices.Contains(got, "0 +990 no_certificate") {
		t.Errorf("of 1,011 files it is said %q", got)
	}
}

// TestSecrets holds that private keys under other names are said, once, and that
// nothing else is.
func TestSecrets(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	w := newWorld(t)
	w.put("a.p12", nil)
	w.put("sub/B.PFX", nil)
	w.put("c.key", nil)
	w.put("id_ed25519", nil)
	w.put("id_ed25519.pub", []byte("ssh-ed25519 AAAA"))
	w.put("d.pem.bak", key)
	w.put("e.txt", append([]byte("\xef\xbb\xbfof Hugh\n"), key...))
	w.put("README", []byte("A PRIVATE KEY does not belong here."))
	text, _ := cert(t, "user@example.com")
	w.put("f.old", text)
	w.put(".g.key", key)
	w.look()
	all := []string{"4 a.p12 private_key", "4 sub/B.PFX private_key", "4 c.key private_key", "4 id_ed25519 private_key", "4 d.pem.bak private_key", "4 e.txt private_key"}
	w.wantRemarks(all...)
	w.look()
	w.checkPaths("c.key", "sub")
	w.wantRemarks()
	w.remove("c.key")
	w.put("README", key)
	w.look()
	w.put("c.key", nil)
	w.checkPaths("c.key")
	w.wantRemarks("4 README private_key", "4 c.key private_key")
	w.put("many/0.pem", key)
	w.look()
	if got := w.d.Remarks(); len(got) != 1 || got[0].Refusal.Reason != certsource.PrivateKey || got[0].Kind != Skipped {
		t.Errorf("of a certificate file with a key it is said %q", said(got))
	}
}
