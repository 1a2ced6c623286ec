package certhost

import (
	"strconv"
	"strings"
)

const (
	typeDER   = "application/pkix-cert"
	typePEM   = "application/x-pem-file"
	typeChain = "application/pem-certificate-chain"
	typeP7C   = "application/pkcs7-mime; smime-type=certs-only"
)

// negotiate chooses the media type of one certificate by the Accept header
// (RFC 9110 section 12.5.1). DER is what everybody gets who does not name a PEM
// type, whose weight is then at least that of DER; a wildcard is less specific
// and loses a tie. Nothing is ever refused: 406 helps nobody here.
func negotiate(accept []string) string {
	if len(accept) == 0 {
		return typeDER
	}
	// Weights in thousandths; -1 is "not named".
	der, pem, chain, wildcard := -1, -1, -1, -1
	for _, line := range accept {
		for len(line) > 0 {
			var item string
			item, line, _ = strings.Cut(line, ",")
			name, parameters, _ := strings.Cut(item, ";")
			name = strings.TrimSpace(name)
			switch {
			case strings.EqualFold(name, typeDER):
				der = max(der, weight(parameters))
			case strings.EqualFold(name, typePEM):
				pem = max(pem, weight(parameters))
			case strings.EqualFold(name, typeChain):
				chain = max(chain, weight(parameters))
			case name == "*/*", strings.EqualFold(name, "application/*"):
				wildcard = max(wildcard, weight(parameters))
			}
		}
	}
	best, name := pem, typePEM
	if chain > best {
		best, name = chain, typeChain
	}
	if best <= 0 || best <= der || der < 0 && best < wildcard {
		return typeDER
	}
	return name
}

// weight reads q out of the parameters of one item: thousandths, 1000 if there
// is none, 0 if it cannot be read.
func weight(parameters string) int {
	for parameters != "" {
		var parameter string
		parameter, parameters, _ = strings.Cut(parameters, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return int(q * 1000)
	}
	return 1000
}
