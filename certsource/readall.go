package certsource

import (
	"bytes"
	"crypto/x509"
	"fmt"
)

// An Unused is what stands in data beside its certificates, or in the place of one.
type Unused struct {
	Line    int // of the text where it begins, 0 if data is no text
	Refusal *Refusal
}

func (u Unused) String() string {
	text := string(u.Refusal.Reason)
	if u.Refusal.Detail != "" {
		text = u.Refusal.Detail
	}
	if u.Refusal.Reason == PrivateKey {
		text = "a private key"
	}
	if u.Line > 0 {
		return fmt.Sprintf("line %d: %s", u.Line, text)
	}
	return text
}

// ReadAll returns the DER of all certificates in data, each once, whosesoever they
// are, and of all else why it is not used. Data has the forms that [Parse] takes, and
// DER values one after the other. What is damaged costs no other certificate.
func ReadAll(data []byte) (certs [][]byte, unused []Unused) {
	a := all{seen: map[string]bool{}}
	if len(data) > MaxFileSize {
		return nil, []Unused{{0, Refuse(TooLarge, fmt.Sprintf("more than %d octets", MaxFileSize))}}
	}
	text := plainText(data)
	switch what := privateKeyDER(text); {
	case what != "":
		a.refuse(0, Refuse(PrivateKey, what))
	case looksBinary(text):
		a.readDER(text)
	case bytes.Contains(text, pemBegin):
		a.readPEM(text)
	default:
		a.refuse(0, notCertificate(text))
	}
	return a.certs, a.unused
}

// all are the certificates found so far.
type all struct {
	certs  [][]byte
	seen   map[string]bool
	unused []Unused
}

func (a *all) refuse(line int, r *Refusal) { a.unused = append(a.unused, Unused{line, r}) }

// take takes in what one value holds.
func (a *all) take(line int, der []byte) {
	certs, refusal := appendDER(nil, der)
	if refusal != nil {
		a.refuse(line, refusal)
	}
	for _, cert := range certs {
		if !a.seen[string(cert.raw)] {
			a.seen[string(cert.raw)] = true
			a.certs = append(a.certs, cert.raw)
		}
	}
}

// readDER reads one value after the other. BER of indefinite length is the last.
func (a *all) readDER(data []byte) {
	for {
		raw, rest, refusal := certificateElement(data)
		if refusal != nil {
			a.take(0, data)
			return
		}
		a.take(0, raw)
		if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) == 0 {
			return
		}
		if what := privateKeyDER(rest); what != "" || !looksBinary(rest) {
			a.refuse(0, checkTrailer(rest))
			return
		}
		data = rest
	}
}

// readPEM reads the blocks of a text as [appendPEM] does, but goes on after one that
// is damaged or is none.
func (a *all) readPEM(text []byte) {
	whole := text
	for line, counted := 1, 0; ; {
		begin := bytes.Index(text, pemBegin)
		if begin < 0 {
			return
		}
		at := len(whole) - len(text) + begin
		line += bytes.Count(whole[counted:at], []byte("\n"))
		counted = at
		inline := !startsLine(text[:begin])
		text = text[begin+len(pemBegin):]
		if inline {
			continue
		}
		label, body, rest, refusal := cutBlock(text)
		if refusal != nil {
			if label, _, _ := bytes.Cut(text, dashes); bytes.HasSuffix(label, []byte("PRIVATE KEY")) {
				refusal = Refuse(PrivateKey, "PEM") // a key that is torn is a key
			}
			a.refuse(line, refusal)
			continue
		}
		text = rest
		a.block(line, label, body)
	}
}

func (a *all) block(line int, label, body []byte) {
	der, ok := decodeBody(body)
	switch {
	case bytes.HasSuffix(label, []byte("PRIVATE KEY")):
		a.refuse(line, Refuse(PrivateKey, "PEM"))
	case ok && privateKeyDER(der) != "":
		a.refuse(line, Refuse(PrivateKey, privateKeyDER(der)))
	case !holdsCertificate(label):
		a.refuse(line, Refuse(NoCertificate, labelText(label)))
	case !ok:
		a.refuse(line, damaged("the base64 of a PEM block is broken"))
	case string(label) == "TRUSTED CERTIFICATE":
		// OpenSSL's own form: its settings of trust follow the certificate.
		raw, _, refusal := certificateElement(der)
		if refusal != nil {
			a.refuse(line, refusal)
			return
		}
		a.take(line, raw)
	default:
		a.take(line, der)
	}
}

// ReadRoots returns the authorities in data for crypto/x509, and of all else, also
// certificates that crypto/x509 cannot read, why it is not used. Without any authority
// that can be used the pool is nil.
func ReadRoots(data []byte) (*x509.CertPool, []Unused) {
	certs, unused := ReadAll(data)
	pool := x509.NewCertPool()
	used := 0
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			unused = append(unused, Unused{0, Refuse(Malformed, "a certificate that Go's crypto/x509 cannot read"+because(err))})
			continue
		}
		pool.AddCert(cert)
		used++
	}
	if used == 0 {
		return nil, unused
	}
	return pool, unused
}
