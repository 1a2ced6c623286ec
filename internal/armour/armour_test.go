package armour

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"coredns-smimea/internal/testcert"
)

// TestKeyPair holds that a chain and its key are read however they are written, or that
// what is damaged is named.
func TestKeyPair(t *testing.T) {
	signer, err := testcert.NewSigner(testcert.P256)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := testcert.Template{Addresses: []string{"a@example.com"}, Signer: signer}.DER()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	if err != nil {
		t.Fatal(err)
	}
	issuer := testcert.Shared().Certificate
	chain := string(testcert.PEM(leaf)) + string(testcert.PEM(issuer))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, c := range map[string]struct {
		chain, key, want string
	}{
		"plain":       {chain, private, ""},
		"mark":        {"\xef\xbb\xbf" + chain, "\xef\xbb\xbf" + private, ""},
		"CR":          {strings.ReplaceAll(chain, "\n", "\r"), strings.ReplaceAll(private, "\n", "\r"), ""},
		"joined":      {strings.ReplaceAll(chain, "-----\n-----", "----------"), private, ""},
		"five dashes": {strings.ReplaceAll(chain, "-----\n-----", "-----"), private, ""},
		"indented":    {"  " + strings.ReplaceAll(chain, "\n", "\n  "), private, ""},
		"in one file": {private + chain, private + chain, ""},
		"torn chain":  {chain[:len(chain)-40], private, "of the certificate, line"},
		"broken key":  {chain, strings.Replace(private, "M", "!", 1), "of the key, line 1: the base64 of a PEM block is broken"},
		"no PEM":      {"hello", private, "failed to find any PEM data"},
	} {
		pair, err := KeyPair([]byte(c.chain), []byte(c.key))
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want it to say %q", name, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case len(pair.Certificate) != 2 || !bytes.Equal(pair.Certificate[0], leaf) || !bytes.Equal(pair.Certificate[1], issuer):
			t.Errorf("%s: %d certificates", name, len(pair.Certificate))
		}
	}
}

// TestStrays holds that what looks like the body of a block is said to be outside of one,
// and that comments are none.
func TestStrays(t *testing.T) {
	der := testcert.Shared().Certificate
	block := string(testcert.PEM(der))
	body := strings.SplitAfterN(block, "\n", 2)[1]
	binary, bare := "data that is no text is beside the PEM blocks", "base64 without the lines BEGIN and END of PEM"
	for name, c := range map[string]struct {
		text string
		want []string // damages, "" where there is none
	}{
		"plain":                  {block + block, []string{"", ""}},
		"comments":               {"# MINE:\nMy certificate\n" + block + "MAC 0123456789abcdef\n", []string{""}},
		"a digest":               {"MIIDdTCCAl2gAwIBAgILBAAAAAABFUtaw5QwDQYJKo=\n" + block, []string{""}},
		"marks":                  {block + "\xef\xbb\xbf" + block, []string{"", ""}},
		"joined at a mark":       {strings.TrimSpace(block) + "\xef\xbb\xbf" + block, []string{"", ""}},
		"form feed":              {block + "\f" + block, []string{"", ""}},
		"four dashes":            {strings.Replace(block, "-----BEGIN", "----BEGIN", 1) + block, []string{bare, ""}},
		"small letters":          {block + strings.Replace(block, "BEGIN CERT", "begin cert", 1), []string{"", bare}},
		"dashes of a typesetter": {strings.ReplaceAll(block, "-----", "\u2014\u2013") + block, []string{bare, ""}},
		"no lines at all":        {body, []string{bare}},
		"DER behind":             {block + string(der), []string{"", binary}},
		"zeros behind":           {block + "\x00\x00\x00", []string{"", binary}},
		"end of CP/M":            {block + "\x1a", []string{""}},
		"colours":                {"\x1b[32mhere:\x1b[0m\n" + block, []string{""}},
		"torn, then whole":       {block[:200] + "\n" + block, []string{"a PEM block does not end as it begins", ""}},
		"quoted":                 {"> " + strings.ReplaceAll(block, "\n", "\n> "), []string{"a PEM block does not begin its line"}},
		"in JSON":                {`{"cert": "` + strings.ReplaceAll(block, "\n", `\n`) + "\"}\n" + block, []string{"a PEM block does not begin its line", ""}},
		"twice torn":             {"-----BEGIN A\n-----BEGIN B\n" + block, []string{"a PEM block does not begin as one", "a PEM block does not begin as one", ""}},
	} {
		var got []string
		for b := range Blocks([]byte(c.text)) {
			got = append(got, b.Damage)
			if b.Damage == bare && !bytes.Equal(b.DER, der) || b.Damage == binary && name == "DER behind" && !bytes.Equal(b.DER, der) {
				t.Errorf("%s: other octets", name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestHeaders holds that what a block has before its base64 is left out, and nothing else.
func TestHeaders(t *testing.T) {
	for name, body := range map[string]string{
		"none":                     "AAAA\nBBBB\n",
		"one":                      "Comment: one\nAAAA\nBBBB\n",
		"one, apart":               "Comment: one\n\nAAAA\nBBBB\n",
		"continued":                "Comment: one\n and two\n\nAAAA\nBBBB\n",
		"continued as base64 is":   "Comment: one\n CCCC\n\nAAAA\nBBBB\n",
		"continued by a tab, CRLF": "Comment: one,\r\n\ttwo,\r\n\tthree\r\n\r\nAAAA\r\nBBBB\r\n",
		"continued, CR":            "Comment: one\r two\r\rAAAA\rBBBB\r",
		"continued, and another":   "Comment: one\n two\nName: three\n four\n\nAAAA\nBBBB\n",
		"continued with a colon":   "Comment: one\n two: three\n\nAAAA\nBBBB\n",
		"indented":                 "  Comment: one\n  AAAA\n  BBBB\n  ",
		"indented and continued":   "  Comment: one\n    two\n  \n  AAAA\n  BBBB\n  ",
		"indented base64":          "Comment: one\n  AAAA\n  BBBB\n",
		"empty lines":              "\n\nComment: one\n\n\nAAAA\n\nBBBB\n",
	} {
		for b := range Blocks([]byte("-----BEGIN A-----\n" + body + "-----END A-----\n")) {
			if b.Damage != "" || string(b.DER) != "\x00\x00\x00\x04\x10\x41" {
				t.Errorf("%s: %x, %s", name, b.DER, b.Damage)
			}
		}
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add([]byte("-----BEGIN A-----\nAAAA\n-----END A----------BEGIN B-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		line := 1
		for b := range Blocks(text) {
			if b.Line < line || b.Cut && b.Damage == "" {
				t.Fatalf("%+v after line %d", b, line)
			}
			line = b.Line
		}
	})
}
