package certsource

import (
	"bytes"
	"strings"

	"coredns-smimea/internal/plaintext"
)

// PrivateKeyIn says which kind of private key data is or begins with, "" for
// none. The beginning of a file is enough.
func PrivateKeyIn(data []byte) string {
	data = plaintext.Decode(data)
	if what := privateKeyText(data); what != "" {
		return what
	}
	return privateKeyDER(data)
}

// privateKeyText says which kind of private key a text has, "" for none. It
// looks for the line that begins or ends one, wherever it is and whatever
// becomes of the rest: broken PEM around a key is still a key.
func privateKeyText(data []byte) string {
	rest := data
	for {
		at := bytes.Index(rest, []byte("PRIVATE KEY"))
		if at < 0 {
			break
		}
		line := rest[bytes.LastIndexAny(rest[:at], "\r\n")+1 : at]
		if bytes.Contains(line, []byte("--")) && (bytes.Contains(line, []byte("BEGIN")) || bytes.Contains(line, []byte("END"))) {
			return "PEM"
		}
		rest = rest[at+1:]
	}
	switch {
	case bytes.HasPrefix(data, []byte("openssh-key-v1\x00")):
		return "OpenSSH"
	case bytes.HasPrefix(data, []byte("PuTTY-User-Key-File-")):
		return "PuTTY"
	case bytes.HasPrefix(data, []byte("\xfe\xed\xfe\xed")), bytes.HasPrefix(data, []byte("\xce\xce\xce\xce")):
		return "Java keystore"
	}
	return ""
}

// privateKeyDER says which kind of private key (or container of one) the DER or
// BER at the start of data is, "" for none. It looks at the headers of the
// first values only: enough to tell keys from certificates, also where the
// rest is missing.
func privateKeyDER(data []byte) string {
	tag, header, _, ok := berHeader(data)
	if !ok || tag != 0x30 {
		return ""
	}
	in := berPeek(data[header:])
	switch first := in.next(); {
	case first.tag == 0x30: // EncryptedPrivateKeyInfo: {{OID, parameters}, OCTET STRING}
		id := berPeek(first.content)
		algorithm := id.next()
		if algorithm.tag != 0x06 {
			return ""
		}
		if hasPrefix(algorithm.content, oidPKCS5) || hasPrefix(algorithm.content, oidPKCS12PBE) || in.next().tag == 0x04 {
			return "PKCS#8, encrypted"
		}
	case first.tag == 0x02 && len(first.content) == 1 && first.content[0] <= 3:
		second := in.next()
		switch second.tag {
		case 0x02: // {0, n, e, d, …}, or DSA's {0, p, q, g, y, x}
			return "PKCS#1"
		case 0x04: // {1, OCTET STRING, …}
			return "SEC1"
		case 0x30: // {0, {OID, parameters}, OCTET STRING}; {3, {OID of PKCS#7, …}, …}
			id := berPeek(second.content)
			kind := id.next()
			switch {
			case kind.tag != 0x06:
				return ""
			case hasPrefix(kind.content, oidPKCS7):
				return "PKCS#12"
			case in.next().tag == 0x30: // explicit curve parameters: {1, {OID, …}, {…}, …}
				return ""
			}
			return "PKCS#8"
		}
	}
	return ""
}

func hasPrefix(content []byte, prefix string) bool {
	return strings.HasPrefix(string(content), prefix)
}

// A berPeek reads values like a berReader, but also such that are cut off, of
// which it returns what there is.
type berPeek []byte

func (p *berPeek) next() berElement {
	tag, header, size, ok := berHeader(*p)
	if !ok {
		*p = nil
		return berElement{}
	}
	rest := (*p)[header:]
	if size == indefinite || size > len(rest) {
		size = len(rest)
	}
	e := berElement{tag: tag, content: rest[:size]}
	*p = rest[size:]
	return e
}
