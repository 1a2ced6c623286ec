package armour

import (
	"bytes"
	"encoding/base64"
)

// minStray is how many characters of base64 a line has that is taken for the body of a
// block: fewer can be a word, or a digest in a comment.
const minStray = 48

// strays finds in the text around blocks what is the body of one: base64 that no line
// begins as it should, or, beside blocks, octets that are no text. It reports whether
// yield has always wanted more.
func strays(text []byte, beside bool, yield func(at int, b Block) bool) bool {
	for at := 0; at < len(text); {
		line, rest := cutLine(text[at:])
		trimmed := bytes.TrimLeft(line, " \t")
		switch {
		case beside && bytes.ContainsFunc(line, isBinary):
			return yield(at, Block{DER: text[at:], Damage: "data that is no text is beside the PEM blocks"})
		case len(trimmed) >= minStray && trimmed[0] == 'M' && len(base64Of(trimmed)) == len(bytes.TrimRight(trimmed, " \t")):
			body, end := run(text[at:])
			der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
			n, _ := base64.StdEncoding.Decode(der, body)
			if n > 0 && der[0] == sequence && !yield(at, Block{DER: der[:n], Damage: "base64 without the lines BEGIN and END of PEM"}) {
				return false
			}
			at += end
			continue
		}
		at = len(text) - len(rest)
	}
	return true
}

// sequence is what DER of certificates, lists and keys begins with.
const sequence = 0x30

// run returns the base64 of the lines that text begins with and that have nothing else,
// and where they end.
func run(text []byte) (body []byte, end int) {
	for end < len(text) {
		line, rest := cutLine(text[end:])
		line = bytes.Trim(line, " \t")
		if len(line) == 0 || len(base64Of(line)) != len(line) {
			break
		}
		body = append(body, line...)
		end = len(text) - len(rest)
	}
	return body, end
}

// base64Of returns what text begins with of base64.
func base64Of(text []byte) []byte {
	end := bytes.IndexFunc(text, func(c rune) bool {
		return !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=')
	})
	if end < 0 {
		return text
	}
	return text[:end]
}

// isBinary reports whether a character is in no text: a control that is neither white
// space, nor the end of a file of CP/M, nor what begins a colour on a terminal.
func isBinary(c rune) bool {
	return c < '\t' || c > '\r' && c < 0x1a || c > 0x1b && c < ' '
}
