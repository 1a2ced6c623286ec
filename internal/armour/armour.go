// Package armour reads PEM (RFC 7468) as it comes: from editors, from other systems,
// pasted, or joined by cat.
package armour

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"iter"

	"coredns-smimea/internal/plaintext"
)

var (
	pemBegin = []byte(Begin)
	pemEnd   = []byte("END ")
	dashes   = []byte("-----")
	mark     = []byte("\xef\xbb\xbf") // a byte order mark, in UTF-8
)

// Begin is what a block begins with.
const Begin = "-----BEGIN "

// A Block is a PEM block in a text, or what was to be one.
type Block struct {
	Line  int // where it begins, the first is 1
	Label []byte
	DER   []byte // of a block that is damaged what comes before the damage
	// Damage is why the block is not whole, "" if it is.
	Damage string
	// Cut is set where the block does not end: what follows may be a part of it.
	Cut bool
}

// Blocks returns all PEM blocks (RFC 7468) in text. Like encoding/pem it takes any
// text around the blocks, any line ends, white space in and at the end of lines, and
// headers in a block; also blocks that are indented, that have a byte order mark before
// them, and such that follow the one before on its line, as cat makes of files that end
// without a line break. Unlike it, it skips nothing in silence: what is around the blocks
// and is no text, or the base64 of something, is a block that is damaged.
func Blocks(text []byte) iter.Seq[Block] {
	return func(yield func(Block) bool) {
		whole := text
		line, counted := 1, 0
		lineAt := func(at int) int {
			line += countLines(whole[counted:at])
			counted = at
			return line
		}
		around := 0 // where the text after the last block begins
		for {
			begin := bytes.Index(text, pemBegin)
			if begin < 0 {
				break
			}
			at := len(whole) - len(text) + begin
			inline := !startsLine(text[:begin])
			text = text[begin+len(pemBegin):]
			if inline && !beginsBody(text) {
				continue // text about PEM
			}
			around = min(around, at) // a torn body may seem to reach into the next block
			if !strays(whole[around:at], true, func(from int, b Block) bool {
				b.Line = lineAt(around + from)
				return yield(b)
			}) {
				return
			}
			b, rest, end := Block{Damage: "a PEM block does not begin its line"}, text, bodyEnd(text)
			if !inline {
				if b, rest = cutBlock(text); !b.Cut {
					end = len(text) - len(rest)
				}
			}
			around = len(whole) - len(text) + end
			text = rest
			b.Line = lineAt(at)
			if !yield(b) {
				return
			}
		}
		strays(whole[around:], around > 0, func(from int, b Block) bool {
			b.Line = lineAt(around + from)
			return yield(b)
		})
	}
}

// KeyPair is [tls.X509KeyPair] for files as they come, which that would leave out parts of
// in silence, such as an issuer of the chain. The error names a block that is damaged, and
// has nothing of the key.
func KeyPair(cert, key []byte) (tls.Certificate, error) {
	chain, err := tidy(cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("of the certificate, %w", err)
	}
	private, err := tidy(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("of the key, %w", err)
	}
	return tls.X509KeyPair(chain, private)
}

// tidy returns all blocks of data as encoding/pem reads them.
func tidy(data []byte) ([]byte, error) {
	var all []byte
	for b := range Blocks(plaintext.Decode(data)) {
		if b.Damage != "" {
			return nil, fmt.Errorf("line %d: %s", b.Line, b.Damage)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: string(b.Label), Bytes: b.DER})...)
	}
	return all, nil
}

// countLines counts line ends, each of them LF, CR or both.
func countLines(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}

// startsLine reports whether what follows before is the first thing on its line.
func startsLine(before []byte) bool {
	before = bytes.TrimRight(before, " \t\f\v")
	// Files that begin with a mark have been joined.
	before = bytes.TrimRight(bytes.TrimSuffix(before, mark), " \t")
	if len(before) == 0 {
		return true
	}
	last := before[len(before)-1]
	return last == '\n' || last == '\r'
}

// beginsBody reports whether text, which starts with a label, goes on as a block does:
// with nothing behind the label's dashes on their line, or with base64, maybe behind a
// line break that is written as JSON does.
func beginsBody(text []byte) bool {
	if _, _, ok := cutLabel(text); ok {
		return true
	}
	_, rest, _ := bytes.Cut(text, dashes)
	rest = bytes.TrimLeft(rest, " \\rn")
	return len(rest) > 0 && rest[0] == 'M' && len(base64Of(rest)) >= minStray
}

// bodyEnd returns where the body ends of a block that is not whole.
func bodyEnd(text []byte) int {
	begin := bytes.Index(text, dashes)
	if begin < 0 {
		return len(text)
	}
	begin += len(dashes)
	if end := bytes.Index(text[begin:], dashes); end >= 0 {
		return begin + end
	}
	return len(text)
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
	label, body, rest, damage := cutWhole(text)
	if damage == "" {
		b.Label = label
		var ok bool
		if b.DER, ok = decodeBody(body); !ok {
			b.Damage = "the base64 of a PEM block is broken"
		}
		return b, rest
	}
	b.Damage, b.Cut = damage, true
	b.Label, rest, _ = bytes.Cut(text, dashes)
	torn, _, _ := bytes.Cut(rest, dashes)
	b.DER, _ = decodeBody(torn)
	return b, text
}

// cutWhole cuts text, which starts with a block's label, into that label, the
// block's body and the text after the block.
func cutWhole(text []byte) (label, body, rest []byte, damage string) {
	label, text, ok := cutLabel(text)
	if !ok {
		return nil, nil, nil, "a PEM block does not begin as one"
	}

	// Base64 has no dashes: the next ones end the block, or it has no end.
	end := bytes.Index(text, dashes)
	if end < 0 {
		return nil, nil, nil, "a PEM block has no END line"
	}
	body, rest = text[:end], text[end+len(dashes):]
	for _, part := range [...][]byte{pemEnd, label, dashes} {
		if !bytes.HasPrefix(rest, part) {
			return nil, nil, nil, "a PEM block does not end as it begins"
		}
		rest = rest[len(part):]
	}
	if bytes.HasPrefix(rest, pemBegin[len(dashes):]) {
		// The next block begins with the dashes that this one ends with.
		rest = text[len(text)-len(rest)-len(dashes):]
	}
	return label, body, rest, ""
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
		line, rest := cutLine(body)
		switch {
		case bytes.IndexByte(line, ':') >= 0:
			body = skipContinuation(rest, indentOf(line))
		case isBlank(line) && len(rest) > 0:
			body = rest
		default:
			return body
		}
	}
}

// skipContinuation returns what follows the lines with which a header of some indent goes
// on: those that are indented further (RFC 1421 section 4.6). Base64 that is indented is
// told from them by what follows, which is another header or an empty line.
func skipContinuation(text []byte, indent int) []byte {
	for after := text; ; {
		line, rest := cutLine(after)
		switch {
		case len(rest) == 0:
			return text
		case isBlank(line) || bytes.IndexByte(line, ':') >= 0:
			return after
		case indentOf(line) <= indent:
			return text
		}
		after = rest
	}
}

// indentOf returns how many spaces and tabs a line begins with.
func indentOf(line []byte) int { return len(line) - len(bytes.TrimLeft(line, " \t")) }

func isBlank(line []byte) bool { return indentOf(line) == len(line) }

// cutLine cuts text behind its first line, which ends with LF, CR or both.
func cutLine(text []byte) (line, rest []byte) {
	end := bytes.IndexAny(text, "\r\n")
	if end < 0 {
		return text, nil
	}
	if bytes.HasPrefix(text[end:], []byte("\r\n")) {
		return text[:end], text[end+2:]
	}
	return text[:end], text[end+1:]
}
