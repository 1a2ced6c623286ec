package directory

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/testcert"
)

// lists returns the set of one list that revokes certificates.
func (w *world) lists(a *testcert.Authority, number int64, certs ...[]byte) *revocation.Set {
	w.Helper()
	der, err := a.Revoke(number, certs...)
	w.must(err)
	l, err := revocation.Parse(der)
	w.must(err)
	issuer, err := x509.ParseCertificate(a.Certificate)
	w.must(err)
	v, err := revocation.Verify(l, []*x509.Certificate{issuer})
	w.must(err)
	return revocation.NewSet([]revocation.Verified{v})
}

// revoke has other lists count, and looks at the files that they concern.
func (w *world) revoke(by *revocation.Set, withdrawn int, concerned ...string) {
	w.Helper()
	paths, n := w.d.Concerned(by)
	if slices.Sort(paths); !slices.Equal(paths, concerned) || n != withdrawn {
		w.Errorf("%q are concerned, and %d withdrawn; want %q, %d", paths, n, concerned, withdrawn)
	}
	w.d.Revoke(by)
	w.checkPaths(paths...)
	if w.report.Read != len(concerned) {
		w.Errorf("%d files were read for %d that are concerned", w.report.Read, len(concerned))
	}
	if paths, _ := w.d.Concerned(by); len(paths) > 0 {
		w.Errorf("%q are still concerned", paths)
	}
}

// TestRevoke revokes certificates and takes that back: alone in their file and one of
// two, over a restart, over a look at everything, and with the guard at its closest.
func TestRevoke(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxWithdraw = 0 })
	w.skew = time.Second
	a, err := testcert.NewAuthority("A", nil)
	w.must(err)
	made := map[string][]byte{}
	for _, name := range []string{"a", "b", "c", "d"} {
		der, err := testcert.Template{Addresses: []string{name + "@example.com"}, Issuer: a}.DER()
		w.must(err)
		made[name] = der
		w.put(name+".pem", testcert.PEM(der))
	}
	w.put("two.pem", testcert.PEM(made["c"], made["d"]))
	w.remove("c.pem")
	w.remove("d.pem")
	w.look()
	w.want("a.pem", "b.pem", "two.pem")

	stranger, err := testcert.NewAuthority("A", nil)
	w.must(err)
	// It has the issuer's name, so that its list is looked into.
	by := w.lists(stranger, 1, made["a"])
	w.d.Revoke(by)
	w.look()
	w.want("a.pem", "b.pem", "two.pem")
	if w.report.Read != 1 {
		t.Errorf("%d files were read for one that a stranger's list names", w.report.Read)
	}
	if w.look(); w.report.Read != 0 {
		t.Errorf("%d files were read again for a stranger's list", w.report.Read)
	}

	by = w.lists(a, 2, made["a"], made["c"])
	w.revoke(by, 2, "a.pem", "two.pem")
	w.want("b.pem", "two.pem")
	w.wantState("a.pem", certsource.Revoked, "")
	if f, _ := w.d.Files().Get("two.pem"); f.live() != 1 || w.d.Revoked() != 2 {
		t.Errorf("of two.pem %d are published; %d are revoked in all", f.live(), w.d.Revoked())
	}
	w.look()
	if w.changes+w.report.Read > 0 {
		t.Errorf("%d changes, %d files read where nothing has changed", w.changes, w.report.Read)
	}

	next := restored(t, w)
	next.d.Revoke(by)
	next.look()
	if next.changes+next.report.Read > 0 || next.d.Revoked() != 2 {
		t.Errorf("after a restart %d changes, %d files read, %d revoked", next.changes, next.report.Read, next.d.Revoked())
	}

	// The first is held no more, another is revoked.
	w.revoke(w.lists(a, 3, made["b"], made["c"]), 1, "a.pem", "b.pem")
	w.want("a.pem", "two.pem")
	// A look at everything finds the same without being told of paths.
	w.d.Revoke(nil)
	w.look()
	w.want("a.pem", "b.pem", "two.pem")
	if f, _ := w.d.Files().Get("two.pem"); f.live() != 2 || w.d.Revoked() != 0 {
		t.Errorf("of two.pem %d are published; %d are revoked in all", f.live(), w.d.Revoked())
	}
}

// TestRevokedFirst holds that what is revoked is not published at all, and not even by
// the first look; and that a new certificate takes its place.
func TestRevokedFirst(t *testing.T) {
	a, err := testcert.NewAuthority("A", nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := testcert.Template{Addresses: []string{"a@example.com"}, Issuer: a}.DER()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.d.Revoke(w.lists(a, 1, der))
	w.put("a.pem", testcert.PEM(der))
	w.skew = time.Second
	w.look()
	w.want()
	w.wantState("a.pem", certsource.Revoked, "")
	w.write("a.pem")
	w.look()
	w.want("a.pem")
	if w.d.Revoked() != 0 {
		t.Errorf("%d are revoked", w.d.Revoked())
	}
	// What is revoked already takes the place of what is published after a while only,
	// as all that may not be published.
	w.put("a.pem", testcert.PEM(der))
	w.look()
	w.wantState("a.pem", "", certsource.Revoked)
}
