package smimea

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

const (
	maxLocalPart = 64 // octets, RFC 5321 section 4.5.3.1.1

	// MaxLabel is the most octets of a DNS label (RFC 1035 section 2.3.4).
	MaxLabel = 63
	// MaxName is the most octets of a DNS name on the wire, with all length octets
	// and the root (RFC 1035 section 2.3.4).
	MaxName = 255

	// maxDomain is what the two labels of an owner name leave for the domain.
	maxDomain = MaxName - (1 + 2*HashSize) - (1 + len(CertsLabel))
)

// An Address is a mail address in the one form that RFC 8162 section 3 hashes,
// so that two addresses are the same user's exactly if they are equal.
//
// Make one with [ParseAddress]: the methods count on what it has checked.
type Address struct {
	// Local is the local-part: 1 to 64 octets of UTF-8 in NFC, without quotes,
	// backslashes, comments and the white space around dots. Its case is kept,
	// since only the receiving domain may say that case does not matter.
	Local string
	// Domain is the domain as lower-case A-labels, without a final dot.
	Domain string
}

// ParseAddress reads a mail address, as people write it and as certificates
// hold it: local-part quoted or not, with or without comments (RFC 5322
// section 3.4.1), in ASCII or in UTF-8 (RFC 6531); domain as A-labels or as
// U-labels (RFC 5891).
//
// No error has the address in it, so that errors can be logged.
func ParseAddress(s string) (Address, error) {
	if !utf8.ValidString(s) {
		return Address{}, errors.New("the address is not valid UTF-8")
	}
	if around := strings.TrimSpace(s); strings.HasSuffix(around, ">") || len(around) >= 7 && LowerASCII(around[:7]) == "mailto:" {
		return Address{}, errors.New("only the address itself is wanted: no name, no <>, no mailto: before it")
	}
	local, domain, err := splitAddress(s)
	switch {
	case err != nil:
		return Address{}, err
	case strings.TrimSpace(local) == "":
		return Address{}, errors.New("there is nothing before the @")
	case strings.TrimSpace(domain) == "":
		return Address{}, errors.New("there is nothing behind the @")
	}
	if domain, err = ParseDomain(domain); err != nil {
		return Address{}, err
	}
	if local, err = parseLocal(local); err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: domain}, nil
}

// String returns the address as it is written in mail: the local-part quoted
// where it has to be. ParseAddress of it gives a again.
func (a Address) String() string {
	if isDotString(a.Local) {
		return a.Local + "@" + a.Domain
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Local) + `"@` + a.Domain
}

// Lower returns the address with the ASCII letters of its local-part in lower
// case. It is another address: see [Address.Local].
func (a Address) Lower() Address {
	a.Local = LowerASCII(a.Local)
	return a
}

// splitAddress cuts at the last @ that is neither quoted nor in a comment.
func splitAddress(s string) (local, domain string, err error) {
	at, depth, quoted := -1, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (quoted || depth > 0):
			i++
		case quoted:
			quoted = c != '"'
		case c == '(':
			depth++
		case depth > 0:
			if c == ')' {
				depth--
			}
		case c == '"':
			quoted = true
		case c == '@':
			at = i
		}
	}
	switch {
	case quoted:
		return "", "", errors.New("the address has an opening quote without a closing one")
	case depth > 0:
		return "", "", errors.New("the address has a comment that does not end")
	case at < 0:
		return "", "", errors.New("the address has no @")
	}
	return s[:at], s[at+1:], nil
}

// parseLocal returns the octets that are hashed, from a local-part as written.
func parseLocal(s string) (string, error) {
	s, err := stripCFWS(s)
	if err != nil {
		return "", fmt.Errorf("the local-part %w", err)
	}
	if strings.HasPrefix(s, `"`) {
		s, err = unquote(s)
	} else if !isDotString(s) {
		err = errors.New("the local-part has characters that are allowed in quotes only, or a dot too many")
	}
	if err != nil {
		return "", err
	}
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r <= 0x9f { // C0, DEL, and C1 as RFC 6530 section 10.1 says
			return "", errors.New("the local-part has a control character")
		}
	}
	s = norm.NFC.String(s)
	if len(s) == 0 || len(s) > maxLocalPart {
		return "", fmt.Errorf("the local-part has %d octets; 1 to %d are possible", len(s), maxLocalPart)
	}
	return s, nil
}

// unquote takes off the quotes around s and the backslashes in it.
func unquote(s string) (string, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"' && i == len(s)-1:
			return b.String(), nil
		case s[i] == '"':
			return "", errors.New("the local-part is quoted in part only")
		case s[i] == '\\':
			if i++; i == len(s) {
				return "", errors.New("the local-part ends in a backslash")
			}
		}
		b.WriteByte(s[i])
	}
	return "", errors.New("the local-part has an opening quote without a closing one")
}

// stripCFWS removes comments and white space (CFWS, RFC 5322 section 3.2.2)
// where they mean nothing: at both ends of s and around its dots. What is left
// over elsewhere is an error.
func stripCFWS(s string) (string, error) {
	var b strings.Builder
	depth, quoted := 0, false
	space := false // CFWS has been seen since the last octet that was kept
	for i := 0; i < len(s); i++ {
		c := s[i]
		if quoted {
			b.WriteByte(c)
			if c == '\\' && i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			} else if c == '"' {
				quoted = false
			}
			continue
		}
		switch {
		case depth > 0 && c == '\\':
			i++
			continue
		case c == '(':
			depth++
			space = true
			continue
		case depth > 0:
			if c == ')' {
				depth--
			}
			continue
		case c == ' ' || c == '\t':
			space = true
			continue
		}
		if text := b.String(); space && text != "" && c != '.' && text[len(text)-1] != '.' {
			return "", errors.New("has white space or a comment inside a word")
		}
		space = false
		quoted = c == '"'
		b.WriteByte(c)
	}
	return b.String(), nil
}

// isDotString reports whether s is a Dot-string of RFC 5321 section 4.1.2 with
// the characters that RFC 6531 section 3.3 adds: what needs no quotes.
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if c := atom[i]; c < utf8.RuneSelf && !isAtext(c) {
				return false
			}
		}
	}
	return true
}

func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// labelProfile makes an A-label of a U-label as a look-up does: mapped to lower
// case and NFC first, valid by IDNA2008 then.
var labelProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.Transitional(false),
	idna.StrictDomainName(true),
)

// dots are the characters that RFC 3490 section 3.1 takes as label separators.
var dots = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// ParseDomain returns a mail domain as lower-case A-labels. ASCII labels are kept as
// they are: a domain that is in use is not ours to judge, even if its A-label
// does not decode to something that IDNA2008 allows.
func ParseDomain(s string) (string, error) {
	s, err := stripCFWS(s)
	if err != nil {
		return "", fmt.Errorf("the domain %w", err)
	}
	if strings.HasPrefix(s, "[") {
		return "", errors.New("the address has an address literal in place of a domain")
	}
	labels := strings.Split(dots.Replace(s), ".")
	size := 1
	for i, label := range labels {
		if !isASCII(label) {
			if label, err = labelProfile.ToASCII(label); err != nil {
				return "", errors.New("the domain has a label that is not valid in IDNA2008")
			}
		}
		label = LowerASCII(label)
		if !isHostLabel(label) {
			return "", errors.New("the domain is not a host name: labels of 1 to 63 letters, digits and inner hyphens")
		}
		labels[i] = label
		size += 1 + len(label)
	}
	if size > maxDomain {
		return "", fmt.Errorf("the domain has %d octets; the owner name leaves it %d", size, maxDomain)
	}
	domain := strings.Join(labels, ".")
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", errors.New("the address has an IP address in place of a domain")
	}
	return domain, nil
}

// isHostLabel reports whether s is a label of RFC 5321 section 4.1.2's Domain.
func isHostLabel(s string) bool {
	if s == "" || len(s) > MaxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// LowerASCII returns s with its ASCII letters in lower case. It folds as the DNS does (RFC 4343): strings.ToLower would fold
// letters that are different labels, and different local-parts.
func LowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
