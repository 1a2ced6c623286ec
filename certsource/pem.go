package certsource

import (
	"bytes"
	"encoding/base64"
	"iter"
)

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("END ")
	dashes   = []byte("-----")
)

// A Block is a PEM block in a text, or what was to be one.
type Block struct {
	Line  int // where it begins, the first is 1
	Label []byte
	DER   []byte // of a block that is damaged what comes before the damage
	// Refusal is why the block is not whole, nil if it is.
	Refusal *Refusal
	// cut is set where the block does not end: what follows may be a part of it.
	cut bool
}

// Blocks returns all PEM blocks (RFC 7468) in text. Like encoding/pem it takes any
// text around the blocks, any line ends, white space in and at the end of lines, and
// headers in a block; also blocks that are indented, and such that follow the one
// before on its line, as cat makes of files that end without a line break. Unlike it,
// it skips nothing in silence.
func Blocks(text []byte) iter.Seq[Block] {
	return func(yield func(Block) bool) {
		whole := text
		for line, counted := 1, 0; ; {
			begin := bytes.Index(text, pemBegin)
			if begin < 0 {
				return
			}
			at := len(whole) - len(text) + begin
			line += countLines(whole[counted:at])
			counted = at
			inline := !startsLine(text[:begin])
			text = text[begin+len(pemBegin):]
			var b Block
			switch {
			case !inline:
				b, text = cutBlock(text)
			case endsLine(text):
				b.Refusal = damaged("a PEM block does not begin its line")
			default:
				continue // text about PEM
			}
			b.Line = line
			if !yield(b) {
				return
			}
		}
	}
}

// readPEM takes in what the blocks of a text hold.
func (r *reading) readPEM(text []byte) {
	any := false
	for b := range Blocks(text) {
		any = true
		r.block(b)
	}
	if !any {
		r.refuse(0, Refuse(NoCertificate, "text without a PEM block"))
	}
}

// countLines counts line ends, each of them LF, CR or both.
func countLines(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}

// block takes in one block.
func (r *reading) block(b Block) {
	der := b.DER
	what := privateKeyDER(der)
	switch {
	case bytes.HasSuffix(b.Label, []byte("PRIVATE KEY")): // a key that is torn is a key
		r.refuse(b.Line, Refuse(PrivateKey, "PEM"))
	case what != "":
		r.refuse(b.Line, Refuse(PrivateKey, what))
	case b.cut:
		r.end(b.Line, b.Refusal)
	case b.Label != nil && !holdsCertificate(b.Label):
		r.refuse(b.Line, Refuse(NoCertificate, labelText(b.Label)))
	case b.Refusal != nil:
		r.refuse(b.Line, b.Refusal)
	case announced(der) > len(der):
		r.refuse(b.Line, damaged("the DER in a PEM block is cut off"))
	default:
		// In OpenSSL's own form, settings of trust follow the certificate.
		if end := announced(der); end > 0 && string(b.Label) != "TRUSTED CERTIFICATE" {
			if refusal := checkTrailer(der[end:]); refusal != nil {
				r.refuse(b.Line, refusal)
				return
			}
		}
		r.value(b.Line, der)
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

// endsLine reports whether text, which starts with a label, has nothing behind the
// label's dashes on their line.
func endsLine(text []byte) bool {
	_, _, ok := cutLabel(text)
	return ok
}

// cutLabel cuts text into the label that it starts with, and what follows its line.
func cutLabel(text []byte) (label, rest []byte, ok bool) {
	// The dashes come first: the end of the line may be far away.
	end := bytes.Index(text, dashes)
	if end < 0 || bytes.ContainsAny(text[:end], "\r\n") {
		return nil, text, false
	}
	rest = bytes.TrimLeft(text[end+len(dashes):], " \t")
	if len(rest) > 0 && rest[0] != '\r' && rest[0] != '\n' {
		return nil, text, false
	}
	return text[:end], rest, true
}

// cutBlock cuts text, which starts with a block's label, into that block and the
// text after it. What does not end as a block is cut off behind its label's dashes.
func cutBlock(text []byte) (b Block, rest []byte) {
	label, body, rest, refusal := cutWhole(text)
	if refusal == nil {
		b.Label = label
		var ok bool
		if b.DER, ok = decodeBody(body); !ok {
			b.Refusal = damaged("the base64 of a PEM block is broken")
		}
		return b, rest
	}
	b.Refusal, b.cut = refusal, true
	b.Label, rest, _ = bytes.Cut(text, dashes)
	torn, _, _ := bytes.Cut(rest, dashes)
	b.DER, _ = decodeBody(torn)
	return b, text
}

// cutWhole cuts text, which starts with a block's label, into that label, the
// block's body and the text after the block.
func cutWhole(text []byte) (label, body, rest []byte, refusal *Refusal) {
	label, text, ok := cutLabel(text)
	if !ok {
		return nil, nil, nil, damaged("a PEM block does not begin as one")
	}

	// Base64 has no dashes: the next ones end the block, or it has no end.
	end := bytes.Index(text, dashes)
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
	if bytes.HasPrefix(rest, pemBegin[len(dashes):]) {
		// The next block begins with the dashes that this one ends with.
		rest = text[len(text)-len(rest)-len(dashes):]
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
