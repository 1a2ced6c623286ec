package discover

import (
	"fmt"

	"coredns-smimea/certsource"
)

// A bundle is what a download holds.
type bundle struct {
	certs      [][]byte // DER, each once
	unused     []string // what else there is, and why it is not used
	privateKey bool
}

// maxUnused is of how much that is not used something is said.
const maxUnused = 5

// readBundle returns all certificates in data: PEM, DER, or PKCS#7 that has
// certificates only. What it is, the bytes say, not the media type.
func readBundle(data []byte) (b bundle, err error) {
	certs, unused := certsource.ReadAll(data)
	b.certs = certs
	for i, u := range unused {
		if b.privateKey = b.privateKey || u.Refusal.Reason == certsource.PrivateKey; i < maxUnused {
			b.unused = append(b.unused, u.String())
		}
	}
	if more := len(unused) - maxUnused; more > 0 {
		b.unused = append(b.unused, fmt.Sprintf("and %d more", more))
	}
	if len(certs) > 0 {
		return b, nil
	}
	text := "no certificate is in it"
	if len(b.unused) > 0 {
		text += ": " + b.unused[0]
	}
	return b, Problem{NoCertificate, text}
}
