package certsource

import (
	"bytes"

	"coredns-smimea/internal/armour"
)

// readPEM takes in what the blocks of a text hold.
func (r *reading) readPEM(text []byte) {
	any := false
	for b := range armour.Blocks(text) {
		any = true
		r.block(b)
	}
	if !any {
		r.refuse(0, notCertificate(text))
	}
}

// block takes in one block.
func (r *reading) block(b armour.Block) {
	der := b.DER
	what := privateKeyDER(der)
	switch {
	case bytes.HasSuffix(b.Label, []byte("PRIVATE KEY")): // a key that is torn is a key
		r.refuse(b.Line, Refuse(PrivateKey, "PEM"))
	case what != "":
		r.refuse(b.Line, Refuse(PrivateKey, what))
	case b.Cut:
		r.end(b.Line, damaged(b.Damage))
	case b.Label != nil && !holdsCertificate(b.Label):
		r.refuse(b.Line, Refuse(NoCertificate, labelText(b.Label)))
	case b.Damage != "":
		r.refuse(b.Line, damaged(b.Damage))
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
