package certsource

import (
	"bytes"
	"fmt"
	"strings"

	"coredns-smimea/internal/armour"
	"coredns-smimea/internal/plaintext"
)

// An Unused is what stands in data beside its certificates, or in the place of one.
type Unused struct {
	Line    int // of the text where it begins, 0 if data is no text
	Refusal *Refusal
}

func (u Unused) String() string {
	text := u.Refusal.Detail
	switch reason := u.Refusal.Reason; {
	case reason == PrivateKey:
		text = "a private key"
	case reason != Malformed && reason != NoCertificate || text == "":
		text = words[reason].reason
		if u.Refusal.Detail != "" {
			text += " (" + u.Refusal.Detail + ")"
		}
	}
	if u.Line > 0 {
		return fmt.Sprintf("line %d: %s", u.Line, text)
	}
	return text
}

// Unuseds puts several in one line, the first of them where they are many.
func Unuseds(list []Unused) string {
	const most = 5
	var parts []string
	for _, u := range list[:min(len(list), most)] {
		parts = append(parts, u.String())
	}
	if more := len(list) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// ReadAll returns the DER of all certificates in data, each once, whosesoever they
// are, and of all else why it is not used. Data has the forms that [ParseFile] takes,
// and DER values one after the other. What is damaged costs no other certificate.
func ReadAll(data []byte) (certs [][]byte, unused []Unused) {
	if len(data) > MaxFileSize {
		return nil, []Unused{{0, Refuse(TooLarge, fmt.Sprintf("more than %d octets", MaxFileSize))}}
	}
	var r reading
	r.read(plaintext.Decode(data))
	return r.result()
}

// ReadBlock returns the DER of the certificates in a PEM block, and of all else why it is
// not used.
func ReadBlock(b armour.Block) (certs [][]byte, unused []Unused) {
	var r reading
	r.block(b)
	return r.result()
}

// A reading takes in all that data holds.
type reading struct {
	certs  []certificate // each once
	unused []Unused
	// single is set where one DER value is all that there may be.
	single bool
	// cut is why something in data does not end, or is not all of it; nil: all is
	// whole.
	cut *Refusal

	seen map[string]bool // certs, where there is more than one
}

func (r *reading) result() (certs [][]byte, unused []Unused) {
	for _, cert := range r.certs {
		certs = append(certs, cert.raw)
	}
	return certs, r.unused
}

func (r *reading) read(data []byte) {
	switch what := privateKeyDER(data); {
	case what != "":
		r.refuse(0, Refuse(PrivateKey, what))
	case looksBinary(data):
		r.readDER(data)
	default:
		r.readPEM(data)
	}
}

func (r *reading) refuse(line int, refusal *Refusal) {
	r.unused = append(r.unused, Unused{line, refusal})
}

// end is refuse for what ends too early, or too late.
func (r *reading) end(line int, refusal *Refusal) {
	r.cut = refusal
	r.refuse(line, refusal)
}

// add adds a certificate.
func (r *reading) add(line int, raw []byte) {
	if r.seen == nil && len(r.certs) == 1 {
		r.seen = map[string]bool{string(r.certs[0].raw): true}
	}
	if r.seen[string(raw)] {
		return
	}
	if what := privateKeyDER(raw); what != "" {
		r.refuse(line, Refuse(PrivateKey, what))
		return
	}
	// In its place, where it needs no allocation of its own.
	r.certs = append(r.certs, certificate{raw: raw, line: line})
	last := len(r.certs) - 1
	if refusal := r.certs[last].walk(); refusal != nil {
		r.certs = r.certs[:last]
		r.refuse(line, refusal)
		return
	}
	if r.seen != nil {
		r.seen[string(raw)] = true
	}
}

// value takes in a whole DER (or for PKCS#7 BER) value at the start of data: a
// certificate or a PKCS#7 bundle. It returns what follows, nil if that cannot be told.
func (r *reading) value(line int, data []byte) (rest []byte) {
	if announced(data) > len(data) {
		r.end(line, damaged("the DER is cut off"))
		return nil
	}
	switch firstTag(data) {
	case 0x06: // OBJECT IDENTIFIER: a ContentInfo
		return r.pkcs7(line, data)
	case 0x30: // SEQUENCE: a certificate, or another signed thing
	default:
		r.refuse(line, Refuse(NoCertificate, "ASN.1 that is no certificate"))
		return nil
	}
	raw, rest, refusal := certificateElement(data)
	if refusal != nil {
		r.refuse(line, refusal)
		return nil
	}
	r.add(line, raw)
	return rest
}

// readDER reads one value after the other. White space may follow, which editors
// add and openssl ignores.
func (r *reading) readDER(data []byte) {
	for {
		rest := r.value(0, data)
		refusal := checkTrailer(rest)
		if refusal == nil {
			return
		}
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if refusal.Reason == PrivateKey || r.single || !looksBinary(rest) {
			r.end(0, refusal)
			return
		}
		data = rest
	}
}
