package testcert

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"
)

// keys are certificates with every kind of key. Those that crypto/x509 does
// not read are published all the same.
func (m *maker) keys() {
	for name, key := range map[string]Key{"p256": P256, "p384": P384, "ed25519": Ed25519, "rsa2048": RSA2048} {
		t := m.template(m.at(name))
		t.Key = key
		switch key {
		case RSA2048:
			t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		case Ed25519:
			t.KeyUsage = x509.KeyUsageDigitalSignature
		}
		m.publish("keys/"+name+".pem", t)
	}
	for _, odd := range []struct {
		name    string
		inGo    bool // crypto/x509 reads it
		genpkey []string
	}{
		{"rsassa-pss", true, []string{"-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"}},
		{"x25519", true, []string{"-algorithm", "X25519"}},
		{"ed448", true, []string{"-algorithm", "ED448"}},
		{"brainpool", false, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"}},
		{"secp256k1", false, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"}},
		{"explicit-parameters", false, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"}},
	} {
		private := m.openssl(nil, append([]string{"genpkey", "-outform", "DER"}, odd.genpkey...)...)
		t := m.template(m.at(odd.name))
		t.PublicKey = m.openssl(private, "pkey", "-inform", "DER", "-pubout", "-outform", "DER")
		if odd.inGo {
			m.publish("keys/"+odd.name+".pem", t)
		} else {
			m.unread("keys/"+odd.name+".pem", t)
		}
	}
}

// addresses are certificates with every kind of address, at every place.
func (m *maker) addresses() {
	for name, list := range map[string][]string{
		"two":          {m.at("two.a"), "two.b@" + m.other},
		"other":        {"someone@" + m.other},
		"upper":        {m.at("Upper.Case")},
		"lower":        {m.at("upper.case")}, // with upper.pem: two users who differ in case only
		"case-domain":  {"casedomain@" + strings.ToUpper(m.domain)},
		"dots":         {m.at("first.middle.last")},
		"plus":         {m.at("user+tag")},
		"star":         {m.at("*")},
		"quoted":       {m.at(`"john doe"`)},
		"quoted-dots":  {m.at(`"a..b"`)},
		"escaped":      {m.at(`"a\"b\\c"`)},
		"longest":      {m.at(strings.Repeat("x", 64))},
		"long-labels":  {m.at(strings.Repeat("abcdefgh.", 7) + "i")},
		"idn-a-label":  {"idn@xn--bcher-kva." + m.domain},
		"idn-u-label":  {"ülabel@bücher." + m.domain}, // as RFC 8398 had it
		"smtputf8":     {m.at("医生")},
		"decomposed":   {m.at("u\u0308ml")}, // its owner is that of the NFC form
		"both-kinds":   {m.at("plain"), m.at("schön")},
		"not-anything": {"notanaddress"},
	} {
		m.publish("addresses/"+name+".pem", m.template(list...))
	}

	t := m.template()
	t.Addresses = []string{m.at("дом")}
	t.Extensions = []Extension{{SubjectAltName, true, AltName(t.Addresses...)}}
	c := m.extensionOnly(t)
	m.file("addresses/smtputf8-critical.pem", PEM(c.der), c.Specimen)

	t = m.template(m.at("twice"))
	t.Extensions = []Extension{{SubjectAltName, false, AltName(m.at("twice"), m.at("twice"))}}
	c = m.extensionOnly(t)
	m.file("addresses/twice.pem", PEM(c.der), c.Specimen)

	// UTF-8 where only ASCII may be; crypto/x509 gives the certificate up.
	t = m.template(m.at("jürgen"))
	t.Extensions = []Extension{{SubjectAltName, false, rfc822Names(m.at("jürgen"))}}
	c = m.extensionOnly(t)
	c.Chains = false
	m.file("addresses/rfc822-utf8.pem", PEM(c.der), c.Specimen)

	t = m.template(m.at("latin1"))
	t.Extensions = []Extension{{SubjectAltName, false, rfc822Names(m.at("j\xfcrgen"), m.at("latin1"))}}
	c = m.extensionOnly(t)
	c.Chains = false
	m.file("addresses/rfc822-latin1-and-good.pem", PEM(c.der), c.Specimen)

	for name, list := range map[string][]string{
		"rfc822-latin1": {m.at("j\xfcrgen")},
		"nul":           {m.at("nul\x00")},
		"newline":       {m.at("new\nline")},
		"huge":          {m.at(strings.Repeat("x", 100_000))},
		"empty":         {""},
	} {
		t := m.template()
		// The subject's address does not help: the subjectAltName has one.
		t.SubjectAddresses = []Text{{cb.IA5String, []byte(m.at("fallback"))}}
		t.Extensions = []Extension{{SubjectAltName, false, rfc822Names(list...)}}
		m.refuse("addresses/"+name+".pem", "no_address", PEM(m.cert(t).der))
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = m.at(strings.Repeat("m", i/26+1) + string(rune('a'+i%26)))
	}
	m.refuse("addresses/too-many.pem", "malformed", PEM(m.cert(m.template(many...)).der))
	m.refuse("addresses/none.pem", "no_address", PEM(m.cert(m.template()).der))

	m.subjects()
}

// extensionOnly makes a certificate whose subjectAltName is among the
// extensions, and whose Addresses are only what is expected.
func (m *maker) extensionOnly(t Template) made {
	expected := t.Addresses
	t.Addresses = nil
	c := m.cert(t)
	c.Addresses = expected
	return c
}

// subjects are certificates with the address in the subject.
func (m *maker) subjects() {
	bmp := func(s string) (out []byte) {
		for _, unit := range utf16.Encode([]rune(s)) {
			out = append(out, byte(unit>>8), byte(unit))
		}
		return out
	}
	universal := func(s string) (out []byte) {
		for _, r := range s {
			out = append(out, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
		}
		return out
	}
	for _, s := range []struct {
		name   string
		inGo   bool
		tag    cb.Tag
		encode func(string) []byte
	}{
		{"ia5", true, cb.IA5String, nil},
		{"utf8", true, cb.UTF8String, nil},
		{"t61", true, cb.T61String, nil},
		{"bmp", true, 30, bmp},
		{"printable", false, cb.PrintableString, nil}, // "@" is not in its alphabet
		{"universal", false, 28, universal},
	} {
		address := m.at("subject." + s.name)
		value := []byte(address)
		if s.encode != nil {
			value = s.encode(address)
		}
		t := m.template()
		t.SubjectAddresses = []Text{{s.tag, value}}
		c := m.cert(t)
		c.Addresses, c.Chains = []string{address}, s.inGo
		m.file("subjects/"+s.name+".pem", PEM(c.der), c.Specimen)
	}

	t := m.template()
	t.SubjectAddresses = []Text{{cb.IA5String, []byte(m.at("subject.one"))}, {cb.IA5String, []byte(m.at("subject.two"))}}
	c := m.cert(t)
	c.Addresses = []string{m.at("subject.one"), m.at("subject.two")}
	m.file("subjects/two.pem", PEM(c.der), c.Specimen)

	// A subjectAltName with other names than addresses leaves it to the subject.
	t = m.template()
	t.SubjectAddresses = []Text{{cb.IA5String, []byte(m.at("subject.beside.dns"))}}
	t.Extensions = []Extension{{SubjectAltName, false, []byte("\x30\x0d\x82\x0bexample.net")}}
	c = m.cert(t)
	c.Addresses = []string{m.at("subject.beside.dns")}
	m.file("subjects/dns-altname.pem", PEM(c.der), c.Specimen)

	t = m.template(m.at("san.wins"))
	t.SubjectAddresses = []Text{{cb.IA5String, []byte(m.at("subject.loses"))}}
	m.publish("subjects/both.pem", t)

	t = m.template()
	t.SubjectAddresses = []Text{{30, []byte("\x00o\x00d\x00d\x00")}}
	m.refuse("subjects/bmp-odd.pem", "no_address", PEM(m.cert(t).der))
}

func rfc822Names(addresses ...string) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, address := range addresses {
			b.AddASN1(contextTag(1), func(b *cryptobyte.Builder) { b.AddBytes([]byte(address)) })
		}
	})
	return b.BytesOrPanic()
}

// dates are certificates that are not valid yet, or not for long.
func (m *maker) dates() {
	for _, d := range []struct {
		name       string
		begin, end time.Time
		reason     string
	}{
		{"expired", m.now.AddDate(-2, 0, 0), m.now.AddDate(-1, 0, 0), "expired"},
		{"expired-just-now", m.now.AddDate(-2, 0, 0), m.now.Add(-time.Second), "expired"},
		// No cache may outlive it: with half an hour left, a TTL of one is too much.
		{"expires-within-ttl", m.now.AddDate(-1, 0, 0), m.now.Add(30 * time.Minute), "expired"},
		{"expires-soon", m.now.AddDate(-1, 0, 0), m.now.Add(2 * time.Hour), ""},
		{"not-yet-valid", m.now.AddDate(0, 1, 0), m.now.AddDate(1, 0, 0), ""},
		{"beyond-2050", m.now, time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), ""},
		{"forever", m.now, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), ""},
	} {
		t := m.template(m.at("dates." + d.name))
		t.NotBefore, t.NotAfter = d.begin, d.end
		c := m.cert(t)
		c.Published, c.Reason = d.reason == "", d.reason
		c.Chains = c.Published
		m.file("dates/"+d.name+".pem", PEM(c.der), c.Specimen)
	}
}

// usages are certificates for every purpose.
func (m *maker) usages() {
	sign, encrypt := x509.KeyUsageDigitalSignature, x509.KeyUsageKeyEncipherment
	email, anything, server := x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth
	for _, u := range []struct {
		name    string
		address string
		usage   x509.KeyUsage
		eku     []x509.ExtKeyUsage
		mail    bool
	}{
		// Many users have one for each purpose.
		{"sign-only", m.at("pair"), sign | x509.KeyUsageContentCommitment, []x509.ExtKeyUsage{email}, true},
		{"encrypt-only", m.at("pair"), encrypt, []x509.ExtKeyUsage{email}, true},
		{"signs-only", m.at("signer"), sign, []x509.ExtKeyUsage{email}, true},
		{"agree-only", m.at("agree"), x509.KeyUsageKeyAgreement, []x509.ExtKeyUsage{email}, true},
		{"data-only", m.at("data"), x509.KeyUsageDataEncipherment, []x509.ExtKeyUsage{email}, true},
		{"decipher", m.at("decipher"), x509.KeyUsageKeyAgreement | x509.KeyUsageDecipherOnly, []x509.ExtKeyUsage{email}, true},
		{"no-key-usage", m.at("nousage"), 0, []x509.ExtKeyUsage{email}, true},
		{"no-extended", m.at("noextended"), sign | encrypt, nil, true},
		{"any", m.at("any"), sign | encrypt, []x509.ExtKeyUsage{anything}, true},
		{"server-and-mail", m.at("servermail"), sign | encrypt, []x509.ExtKeyUsage{server, email}, true},
		{"server-only", m.at("server"), sign | encrypt, []x509.ExtKeyUsage{server}, false},
		{"nothing", m.at("nothing"), sign | encrypt, []x509.ExtKeyUsage{}, false},
	} {
		t := m.template(u.address)
		t.KeyUsage, t.EKU = u.usage, u.eku
		if !u.mail {
			m.refuse("usages/"+u.name+".pem", "purpose", PEM(m.cert(t).der))
			continue
		}
		m.publish("usages/"+u.name+".pem", t)
	}
}

// oddities are certificates with something that a strict parser stumbles over.
func (m *maker) oddities() {
	t := m.template(m.at("negative"))
	t.Serial = []byte{0x80, 1, 2}
	m.unread("odd/negative-serial.pem", t)

	t = m.template(m.at("zero"))
	t.Serial = []byte{0}
	m.publish("odd/zero-serial.pem", t)

	t = m.template(m.at("longserial"))
	t.Serial = bytes.Repeat([]byte{0x7f}, 64)
	m.publish("odd/long-serial.pem", t)

	// X.509 v1, self-signed, with the address in the subject: no extension
	// says that it is an authority.
	t = m.template()
	t.Version1, t.Signer, t.KeyUsage, t.EKU = true, m.signer(P256), 0, nil
	t.SubjectAddresses = []Text{{cb.IA5String, []byte(m.at("version1"))}}
	c := m.cert(t)
	c.Addresses = []string{m.at("version1")}
	m.file("odd/version1.pem", PEM(c.der), c.Specimen)

	t = m.template(m.at("selfsigned"))
	t.Signer = m.signer(RSA2048)
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.Extensions = []Extension{{oidBasicConstraints, true, []byte{0x30, 0}}} // CA:FALSE
	m.publish("odd/self-signed.pem", t)

	t = m.template(m.at("unknowncritical"))
	t.Extensions = []Extension{{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, true, []byte{5, 0}}}
	c = m.cert(t)
	c.Chains = false
	m.file("odd/unknown-critical.pem", PEM(c.der), c.Specimen)

	t = m.template(m.at("double"))
	t.Extensions = []Extension{{SubjectAltName, false, AltName(m.at("double2"))}}
	m.refuse("odd/two-altnames.pem", "malformed", PEM(m.cert(t).der))

	t = m.template(m.at("home"))
	t.Authority, t.Signer = true, m.signer(P256)
	m.refuse("odd/self-signed-authority.pem", "authority", PEM(m.cert(t).der))

	// BER's TRUE, which is not DER's.
	t = m.template(m.at("bertrue"))
	t.Extensions = []Extension{{oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 1}}}
	m.refuse("odd/authority-ber.pem", "authority", PEM(m.cert(t).der))
}
