package ldap

import (
	"encoding/hex"
	"regexp"
	"strings"
	"unicode/utf8"
)

// isDN is what a distinguished name looks like.
var isDN = func() *regexp.Regexp {
	const pair = `(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*) *= *(?:[^\\,+"<>;\x00-\x1f]|\\(?:[0-9A-Fa-f]{2}|[ #=,+"<>;\\]))+`
	return regexp.MustCompile(`^(?:` + pair + `(?: *[,+] *` + pair + `)*)?$`)
}()

// IsDN reports whether a text is a distinguished name, as a string (RFC 4514 section 3).
func IsDN(s string) bool { return utf8.ValidString(s) && isDN.MatchString(s) }

// escapeDN escapes a value in a distinguished name (RFC 4514 section 2.4).
func escapeDN(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte(`"+,;<>\=`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			b.WriteString(`\` + hex.EncodeToString([]byte{c}))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// cutRDN takes the first part off a distinguished name: one type, and its value without
// escapes (RFC 4514 section 3).
func cutRDN(dn string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(dn, "=")
	rest = strings.TrimLeft(rest, " ")
	var b strings.Builder
	end := 0 // of the value, without the spaces behind it
	for i := 0; ok && i < len(rest); i++ {
		switch c := rest[i]; c {
		case ',':
			return strings.TrimSpace(name), b.String()[:end], rest[i+1:], true
		case '\\':
			if octet, err := hex.DecodeString(rest[i+1 : min(i+3, len(rest))]); err == nil && len(octet) == 1 {
				b.Write(octet)
				i += 2
			} else if i++; i < len(rest) {
				b.WriteByte(rest[i])
			}
			end = b.Len()
		default:
			if b.WriteByte(c); c != ' ' {
				end = b.Len()
			}
		}
	}
	return strings.TrimSpace(name), b.String()[:end], "", ok
}

// An entryName is the name of an entry of certificateEntry.
type entryName struct {
	uid, mail string
	base      string // below which it is
}

// parseEntryName reads the name of an entry, since clients read an entry again by its
// name, and write that as they like. It is not ok if it is another name.
func parseEntryName(dn string) (n entryName, ok bool) {
	first, uid, rest, _ := cutRDN(dn)
	second, mail, rest, _ := cutRDN(rest)
	ok = strings.EqualFold(first, "uid") && strings.EqualFold(second, "mail") && uid != "" && mail != ""
	return entryName{uid, mail, strings.TrimLeft(rest, " ")}, ok
}
