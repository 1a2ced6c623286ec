package smimea

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"testing"

	"github.com/miekg/dns"
)

func TestParseAssociation(t *testing.T) {
	a, err := ParseAssociation("3", "1", "2")
	if want := (Association{3, 1, 2}); err != nil || a != want || a.String() != "3 1 2" {
		t.Errorf("ParseAssociation = %v, %v; want %v", a, err, want)
	}
	for _, bad := range [][3]string{
		{"4", "1", "1"}, {"3", "2", "1"}, {"3", "1", "3"}, {"", "1", "1"}, {"03", "1", "1"}, {"3", "-1", "1"},
		{"+3", "1", "1"}, {"3", "1", "x"}, {"3", "1", "1 "}, {"255", "1", "1"}, {"PKIX-EE", "1", "1"},
	} {
		if a, err := ParseAssociation(bad[0], bad[1], bad[2]); err == nil || a != (Association{}) {
			t.Errorf("ParseAssociation(%q) = %v; want an error", bad, a)
		}
	}
}

func TestAssociationAppend(t *testing.T) {
	cert, spki := []byte("a certificate with its key in it"), []byte("its key")
	sum256, sum512 := sha256.Sum256, sha512.Sum512
	c256, c512, s256, s512 := sum256(cert), sum512(cert), sum256(spki), sum512(spki)
	for _, test := range []struct {
		a    Association
		want []byte
	}{
		{Association{3, 0, 0}, cert}, {Association{3, 0, 1}, c256[:]}, {Association{1, 0, 2}, c512[:]},
		{Association{3, 1, 0}, spki}, {Association{3, 1, 1}, s256[:]}, {Association{1, 1, 2}, s512[:]},
	} {
		rr, err := unpack(dns.TypeSMIMEA, test.a.Append([]byte("before"), cert, spki)[len("before"):])
		if err != nil {
			t.Errorf("%v: %v", test.a, err)
			continue
		}
		got := rr.(*dns.SMIMEA)
		if got.Usage != test.a.Usage || got.Selector != test.a.Selector || got.MatchingType != test.a.Matching ||
			got.Certificate != hex.EncodeToString(test.want) {
			t.Errorf("%v: got %v; want %x", test.a, got, test.want)
		}
	}
}
