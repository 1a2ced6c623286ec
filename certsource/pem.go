package certsource

import (
	"bytes"
	"encoding/base64"
	"unicode/utf16"
)

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("END ")
	dashes   = []byte("-----")
)

// readPEM reads all PEM blocks (RFC 7468) in text. Like encoding/pem it takes any
// text around the blocks, any line ends, white space in and at the end of lines, and
// headers in a block; also blocks that are indented, and such that follow the one
// before on its line, as cat makes of files that end without a line break. Unlike it,
// it skips nothing in silence.
func (r *reading) readPEM(text []byte) {
	whole, any := text, false
	for line, counted := 1, 0; ; {
		begin := bytes.Index(text, pemBegin)
		if begin < 0 {
			break
		}
		at := len(whole) - len(text) + begin
		line += countLines(whole[counted:at])
		counted = at
		inline := !startsLine(text[:begin])
		text = text[begin+len(pemBegin):]
		if inline {
			continue
		}
		any = true
		label, body, rest, refusal := cutBlock(text)
		if refusal == nil {
			text = rest
			r.block(line, label, body)
			continue
		}
		label, torn, _ := bytes.Cut(text, dashes)
		torn, _, _ = bytes.Cut(torn, dashes)
		der, _ := decodeBody(torn)
		switch what := privateKeyDER(der); {
		case bytes.HasSuffix(label, []byte("PRIVATE KEY")): // a key that is torn is a key
			r.refuse(line, Refuse(PrivateKey, "PEM"))
		case what != "":
			r.refuse(line, Refuse(PrivateKey, what))
		default:
			r.end(line, refusal)
		}
	}
	if !any {
		r.refuse(0, Refuse(NoCertificate, "text without a PEM block"))
	}
}

// countLines counts line ends, each of them LF, CR or both.
func countLines(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}

// block takes in a block that ends as it begins.
func (r *reading) block(line int, label, body []byte) {
	der, ok := decodeBody(body)
	what := privateKeyDER(der)
	switch {
	case bytes.HasSuffix(label, []byte("PRIVATE KEY")):
		r.refuse(line, Refuse(PrivateKey, "PEM"))
	case what != "":
		r.refuse(line, Refuse(PrivateKey, what))
	case !holdsCertificate(label):
		r.refuse(line, Refuse(NoCertificate, labelText(label)))
	case !ok:
		r.refuse(line, damaged("the base64 of a PEM block is broken"))
	case announced(der) > len(der):
		r.refuse(line, damaged("the DER in a PEM block is cut off"))
	default:
		// In OpenSSL's own form, settings of trust follow the certificate.
		if end := announced(der); end > 0 && string(label) != "TRUSTED CERTIFICATE" {
			if refusal := checkTrailer(der[end:]); refusal != nil {
				r.refuse(line, refusal)
				return
			}
		}
		r.value(line, der)
	}
}

// holdsCertificate reports whether blocks of this label hold certificates.
// Which kind their content says: openssl, too, takes PKCS#7 labelled
// CERTIFICATE.
func holdsCertificate(label []byte) bool {
	switch string(label) {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "PKCS #7 SIGNED DATA", "CMS":
		return true
	}
	return false
}

// startsLine reports whether what follows before is the first thing on its line.
func startsLine(before []byte) bool {
	before = bytes.TrimRight(before, " \t")
	if len(before) == 0 {
		return true
	}
	last := before[len(before)-1]
	return last == '\n' || last == '\r'
}

// cutBlock cuts text, which starts with a block's label, into that label, the
// block's body and the text after the block.
func cutBlock(text []byte) (label, body, rest []byte, refusal *Refusal) {
	line := text
	if end := bytes.IndexAny(text, "\r\n"); end >= 0 {
		line = text[:end]
	}
	end := bytes.Index(line, dashes)
	if end < 0 || len(bytes.Trim(line[end+len(dashes):], " \t")) > 0 {
		return nil, nil, nil, damaged("a PEM block does not begin as one")
	}
	label = line[:end]
	text = text[len(line):]

	// Base64 has no dashes: the next ones end the block, or it has no end.
	end = bytes.Index(text, dashes)
	if end < 0 {
		return nil, nil, nil, damaged("a PEM block has no END line")
	}
	body, rest = text[:end], text[end+len(dashes):]
	for _, part := range [...][]byte{pemEnd, label, dashes} {
		if !bytes.HasPrefix(rest, part) {
			return nil, nil, nil, damaged("a PEM block does not end as it begins")
		}
		rest = rest[len(part):]
	}
	return label, body, rest, nil
}

// decodeBody decodes the base64 of a block, after headers, if there are any. Of
// base64 that is broken it returns what comes before.
func decodeBody(body []byte) ([]byte, bool) {
	if bytes.IndexByte(body, ':') >= 0 {
		body = skipHeaders(body)
	}
	if bytes.IndexByte(body, ' ') >= 0 || bytes.IndexByte(body, '\t') >= 0 {
		body = bytes.Map(func(r rune) rune {
			if r == ' ' || r == '\t' {
				return -1
			}
			return r
		}, body)
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Decode(der, body)
	return der[:n], err == nil && n > 0
}

// skipHeaders returns the lines of body after those that are headers (RFC 1421:
// "Key: value").
func skipHeaders(body []byte) []byte {
	for {
		body = bytes.TrimLeft(body, " \t\r\n")
		line, rest := body, []byte(nil)
		if end := bytes.IndexAny(body, "\r\n"); end >= 0 {
			line, rest = body[:end], body[end:]
		}
		if bytes.IndexByte(line, ':') < 0 {
			return body
		}
		body = rest
	}
}

// labelText names a block by its label, as long as that is a label: it comes
// from the file and goes to the log.
func labelText(label []byte) string {
	if len(label) > 40 {
		return "a PEM block of another kind"
	}
	for _, c := range label {
		if c != ' ' && !isDigit(c) && (c < 'A' || c > 'Z') {
			return "a PEM block of another kind"
		}
	}
	return "a PEM block " + string(label)
}

// plainText returns text without a byte order mark: PEM is ASCII, but Windows
// saves it as UTF-8 with such a mark, and its PowerShell as UTF-16.
func plainText(data []byte) []byte {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:]
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return fromUTF16(data[2:], 0)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fromUTF16(data[2:], 1)
	}
	return data
}

// fromUTF16 returns the UTF-8 of UTF-16 whose low octets come first (low 0) or
// second (low 1).
func fromUTF16(data []byte, low int) []byte {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, uint16(data[low])|uint16(data[1-low])<<8)
	}
	return []byte(string(utf16.Decode(units)))
}

// notCertificate says what data is that is neither ASN.1 nor has PEM.
func notCertificate(data []byte) *Refusal {
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
		return damaged("the file is empty")
	case len(trimmed) == 0:
		return damaged("the file is blank")
	case len(bytes.Trim(data, "\x00")) == 0:
		return damaged("the file is all zeros")
	case trimmed[0] == '<':
		return Refuse(NoCertificate, "an HTML or XML page")
	case bytes.HasPrefix(trimmed, []byte("MII")):
		return damaged("base64 without the lines BEGIN and END of PEM")
	case data[0] == 0x30 && len(data) < 2+int(data[min(1, len(data)-1)]):
		return damaged("the DER is cut off, or this is text")
	}
	for _, c := range trimmed[:min(len(trimmed), 512)] {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' {
			return Refuse(NoCertificate, "unknown binary data")
		}
	}
	return Refuse(NoCertificate, "text without a PEM block")
}
