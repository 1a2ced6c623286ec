package smimea

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// vectors are RFC 8162's and RFC 7929's own one, then those of other
// implementations and of the sha256 of OpenSSL and Python.
var vectors = []struct {
	address string
	octets  string // that are hashed
	label   string
}{
	{"hugh@example.com", "hugh", "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"},
	{"packager@example.com", "packager", "d6fb116e0485a16e447de0c6317eb48e6ce1370e7986400f95ebad00"},
	{"test@test.com", "test", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15"},
	{"bob@example.com", "bob", "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd"},
	{"alice@example.com", "alice", "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db"},
	{"firstname.lastname@example.com", "firstname.lastname", "dabb2754c54af17ea5c01acca7fa26550f5ce8047f80079d3a309015"},
	{"firstname_lastname@example.com", "firstname_lastname", "9c353d969ab41576fcccf0cb66a09e17f0a578d48b01b4e1d5f81d65"},
	{"Hugh@example.com", "Hugh", "7063a398942ba5c6125429518d0608563f3974bb48013ddf58fb01d4"},
	{"HUGH@example.com", "HUGH", "811876dac736c7f6fda69c5b618c5866d79f3508b746566ee375c9da"},
	{"mary@example.com", "mary", "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7"},
	{"mary+ext@example.com", "mary+ext", "9352ac25b6335951b8d79e2cea7fd9463835555e028050f1175975a1"},
	{"john-ext@example.com", "john-ext", "8c72994e4009906fee4fca88de009519045b8ca6252da3f631e75606"},
	{"John.Smith@example.com", "John.Smith", "44fb5fbcb0187c3a8c986b65ee7e798c777fee4ba2bd353a5c337de3"},
	{"johnsmith@example.com", "johnsmith", "45358dd8587f2de278ec7411a560bae78720c13aaa369d0cd95b6771"},
	{`"hugh"@example.com`, "hugh", "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"},
	{`"h\ugh"@example.com`, "hugh", "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"},
	{`"a b"@example.com`, "a b", "c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e"},
	{`"a\"b"@example.com`, `a"b`, "39a012772dd5c3accbc56923093422896d41ac882e3cd66914bc584c"},
	{`"a\\b"@example.com`, `a\b`, "c62016d0f8ee333350283fd879b50b692932e932794e5d686f7d37d6"},
	{`"a..b"@example.com`, "a..b", "f62b42414c514fa689d3e087ba397c602a4ba2c897f0ac2cb32cf770"},
	{`"a@b"@example.com`, "a@b", "7508d8b5018ea640b85269861a101203f0c26900555268e930025dac"},
	{"john . doe@example.com", "john.doe", "30f69670bba25e88a97e749a67b8b93db6541ebd309094e5ad0e3c56"},
	{"j\u00f6rg@example.com", "j\xc3\xb6rg", "12c433a0914cf916178d99b922892cd3280438b675c139c3807325e8"},
	{"jo\u0308rg@example.com", "j\xc3\xb6rg", "12c433a0914cf916178d99b922892cd3280438b675c139c3807325e8"},
	{"用户@example.com", "\xe7\x94\xa8\xe6\x88\xb7", "0d0e1a86b3aa787709b00329fcd32b5baf036c87067c8d6c27a46667"},
	{"医生@xn--pss25c.example.com", "\xe5\x8c\xbb\xe7\x94\x9f", "e8ec877c8da553d3c55be4e735c406596a5c12c545adfd3c0c6a6108"},
	{"δοκιμή@example.com", "\xce\xb4\xce\xbf\xce\xba\xce\xb9\xce\xbc\xce\xae", "eec06766d82c6f4e62673a48e646b8c311fb877637ca73effe0f4ec4"},
	{"*@example.com", "*", "684888c0ebb17f374298b65ee2807526c066094c701bcc7ebbe1c109"},
	{strings.Repeat("x", 64) + "@example.com", strings.Repeat("x", 64), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd62195"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		a, err := ParseAddress(v.address)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", v.address, err)
			continue
		}
		if a.Local != v.octets || a.Label() != v.label {
			t.Errorf("%q is hashed as %q to %s; want %q to %s", v.address, a.Local, a.Label(), v.octets, v.label)
		}
		if hash := a.Hash(); hex.EncodeToString(hash[:]) != v.label {
			t.Errorf("Hash() of %q = %x; want %s", v.address, hash, v.label)
		}
		if want := v.label + "._smimecert." + a.Domain + "."; a.Owner() != want {
			t.Errorf("Owner() of %q = %s; want %s", v.address, a.Owner(), want)
		}
	}
}

// TestWrongLabels holds the mistakes that are seen in the field apart from the
// right label.
func TestWrongLabels(t *testing.T) {
	hugh := Address{"hugh", "example.com"}
	for mistake, wrong := range map[string]string{
		"all of the SHA-256":  fmt.Sprintf("%x", sha256.Sum256([]byte("hugh"))),
		"echo without -n":     "8414d7c25c8679970a3ee0fea584d43e4b05b3bef7ebfa35def9265b",
		"the whole address":   "26a302691cb1186d52f90c38c1496581f6e7714f89dff0235e211434",
		"SHA-224":             "8d5730bd8d76d417bf974c03f59eedb7af98cb5c3dc73ea8ebbd54b7",
		"an empty local-part": fmt.Sprintf("%x", sha256.Sum256(nil))[:56],
	} {
		if hugh.Label() == wrong {
			t.Errorf("the label is made of %s", mistake)
		}
	}
	// The NFD octets, hashed as they are.
	nfd := fmt.Sprintf("%x", sha256.Sum256([]byte("jo\u0308rg")))[:56]
	if nfd != "8d4af29d3067eb9e3c9a435e190f8dca5b61c19fac2f9fab3eb8fbd3" {
		t.Fatalf("the vector of the NFD octets is wrong: %s", nfd)
	}
	if a, err := ParseAddress("jo\u0308rg@example.com"); err != nil || a.Label() == nfd {
		t.Errorf("the local-part is hashed without NFC, or refused: %v", err)
	}
}

func TestTextOwner(t *testing.T) {
	for _, test := range []struct {
		local, owner, labels string
	}{
		{"firstname.lastname", "firstname.lastname._smime.example.com.", "\x09firstname\x08lastname"},
		{"Hugh", "hugh._smime.example.com.", "\x04hugh"},
		{"mary+ext", "mary+ext._smime.example.com.", "\x08mary+ext"},
		{"o'brien", "o'brien._smime.example.com.", "\x07o'brien"},
		{"a/b=c", "a/b=c._smime.example.com.", "\x05a/b=c"},
		{"$ORIGIN", `\$origin._smime.example.com.`, "\x07$origin"},
		{strings.Repeat("x", 63), strings.Repeat("x", 63) + "._smime.example.com.", "\x3f" + strings.Repeat("x", 63)},
	} {
		a := Address{test.local, "example.com"}
		labels, err := a.TextLabels()
		if err != nil || !bytes.Equal(labels, []byte(test.labels)) {
			t.Errorf("TextLabels() of %q = %q, %v; want %q", test.local, labels, err, test.labels)
		}
		owner, err := a.TextOwner()
		if err != nil || owner != test.owner {
			t.Errorf("TextOwner() of %q = %s, %v; want %s", test.local, owner, err, test.owner)
			continue
		}
		if n, want := packedSize(t, owner), len(labels)+1+6+13; n != want {
			t.Errorf("%s has %d octets; want %d", owner, n, want)
		}
	}
}

func TestNoTextOwner(t *testing.T) {
	for _, local := range []string{
		"*", "**", "*a.b", "*foo", "a.*", "*.b", "a.*.b", "a..b", ".a", "a.", " ", "a b", "a@b", `a"b`, `a\b`, "j\u00f6rg",
		strings.Repeat("x", 64),
	} {
		a := Address{local, "example.com"}
		if labels, err := a.TextLabels(); err == nil || labels != nil {
			t.Errorf("TextLabels() of %q = %q; want an error", local, labels)
		}
		if owner, err := a.TextOwner(); err == nil || owner != "" {
			t.Errorf("TextOwner() of %q = %s; want an error", local, owner)
		}
	}
	// 187 octets of domain leave 68 to _smime and the labels.
	domain := strings.Repeat("abc.", 45) + "abcde"
	fits := Address{strings.Repeat("x", 60), domain}
	if owner, err := fits.TextOwner(); err != nil || packedSize(t, owner) != MaxName {
		t.Errorf("TextOwner() at the limit = %s, %v", owner, err)
	}
	if owner, err := (Address{strings.Repeat("x", 61), domain}).TextOwner(); err == nil {
		t.Errorf("TextOwner() past the limit = %s; want an error", owner)
	}
}
