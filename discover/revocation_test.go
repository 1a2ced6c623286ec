package discover

import (
	"testing"

	"coredns-smimea/discover/discovertest"
)

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	issuer := discovertest.NewIssuer(t)
	issued := map[string][]byte{}
	for name, path := range map[string]string{
		"good.ocsp": "/ocsp", "good.crl": "/crl", "revoked.ocsp": "/ocsp", "revoked.crl": "/crl", "nowhere": "/nowhere",
		"revoked.pem": "/crl?pem", "part": "/crl?authorities",
	} {
		address := name + "@example.test"
		issued[name] = issuer.Issue(address, path)
		w.publish(address, issued[name], []string{"3 0 0"})
	}
	issuer.Revoke(issued["revoked.ocsp"])
	issuer.Revoke(issued["revoked.crl"])
	issuer.Revoke(issued["revoked.pem"])
	unknown := user(t, "unknown@example.test") // by somebody who is not there
	w.publish("unknown@example.test", unknown, []string{"3 0 0"})

	c := w.client()
	c.Roots = roots(t, issuer.Certificate.Raw)
	w.expect(c, "revoked.crl@example.test", Verified) // nobody was asked
	c.Revocation = true
	for name, want := range map[string]Verdict{
		"good.ocsp": Verified, "good.crl": Verified, "revoked.ocsp": Wrong, "revoked.crl": Wrong,
		"nowhere": Verified, "unknown": Verified, "revoked.pem": Wrong, "part": Verified,
	} {
		r := w.expect(c, name+"@example.test", want)
		if len(r.Certificates) != 1 || r.Certificates[0].Revocation == "" || name == "part" && r.Certificates[0].Revocation == "good" {
			t.Errorf("%s: of its revocation this is said: %+v", name, r.Certificates)
		}
	}
	c.AllowPrivate = false
	w.expect(c, "revoked.ocsp@example.test", Verified) // the issuer is not asked at a private address
}
