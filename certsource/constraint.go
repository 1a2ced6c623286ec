package certsource

import (
	"cmp"
	"crypto/x509"
	encoding "encoding/asn1"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Name constraints (RFC 5280 section 4.2.1.10) of mail addresses and of directory names
// are judged here; of those of other names crypto/x509 judges what it reads.

var (
	oidNameConstraints = encoding.ObjectIdentifier{2, 5, 29, 30}
	oidAltNames        = encoding.ObjectIdentifier{2, 5, 29, 17}
)

var (
	tagDirectoryName = asn1.Tag(4).ContextSpecific().Constructed()
	tagPermitted     = asn1.Tag(0).ContextSpecific().Constructed()
	tagExcluded      = asn1.Tag(1).ContextSpecific().Constructed()
	tagLeast         = asn1.Tag(0).ContextSpecific()
)

// maxComparisons is how often one chain may have names held against constraints, as
// in crypto/x509: both can be sent by the thousand.
const maxComparisons = 250_000

// ParseIssuer reads the certificate of an authority that chains can lead over. It is
// [x509.ParseCertificate], which does not read constraints of directory names, and so
// would have no chain lead over an authority to which they are critical. [Excluded]
// reads them.
func ParseIssuer(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if _, ok := constraintsOf(cert); ok {
		cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, oidNameConstraints.Equal)
	}
	return cert, nil
}

// Excluded says why the name constraints of a chain's issuers exclude a name of the
// certificates below them, the first of which is a user's with these addresses, of
// whatever form (RFC 5280 section 4.2.1.10, RFC 9598 section 6); "" if they do not. It
// decides also where crypto/x509 has judged already: that sees neither
// SmtpUTF8Mailboxes nor what is in the subject, and takes the sub-domains of a host that
// is permitted for permitted.
func Excluded(addresses []string, chain []*x509.Certificate) (why string) {
	below := make([]names, 0, len(chain))
	left := maxComparisons
	for i, issuer := range chain {
		if i > 0 {
			limits, ok := constraintsOf(issuer)
			if !ok {
				return "an issuer's name constraints cannot be read"
			}
			for j, n := range below {
				// An authority's next key is no name of its own.
				if j > 0 && isRoot(chain[j]) {
					continue
				}
				if left -= limits.comparisons(n); left < 0 {
					return "there are too many names and name constraints to compare them"
				}
				if why := limits.exclude(n); why != "" {
					return why
				}
			}
		}
		n := namesOf(issuer)
		if i == 0 {
			n.addresses = append(slices.Clone(addresses), n.addresses...)
		} else {
			n.addresses = append(n.addresses, issuer.EmailAddresses...)
		}
		below = append(below, n)
	}
	return ""
}

// names are what constraints are held against.
type names struct {
	addresses []string
	directory []directoryName
	forms     map[string]bool // see constraints.other
}

// namesOf returns the names of a certificate, of addresses those in the subject only.
func namesOf(cert *x509.Certificate) names {
	n := names{forms: map[string]bool{}}
	var found addresses
	found.addSubject(cert.RawSubject)
	n.addresses = found.list
	if name, ok := readDirectoryName(cert.RawSubject); ok && len(name) > 0 {
		n.directory = append(n.directory, name)
	}
	var list cryptobyte.String
	value := extension(cert, oidAltNames)
	for value.ReadASN1(&list, asn1.SEQUENCE); !list.Empty(); {
		var name cryptobyte.String
		var tag asn1.Tag
		if !list.ReadAnyASN1(&name, &tag) {
			break
		}
		n.forms[form(tag, name)] = true
		if directory, ok := readDirectoryName(name); ok && tag == tagDirectoryName {
			n.directory = append(n.directory, directory)
		}
	}
	return n
}

// constraints are those of one issuer.
type constraints struct {
	permitted, excluded                   []directoryName
	permittedAddresses, excludedAddresses []string
	// other are the forms of names that are constrained, and that nobody here reads: a
	// certificate with such a name is refused.
	other map[string]bool
}

// comparisons is how often names are compared with constraints, at most.
func (c *constraints) comparisons(n names) int {
	return len(n.addresses)*(len(c.permittedAddresses)+len(c.excludedAddresses)) + len(n.directory)*(len(c.permitted)+len(c.excluded))
}

// constraintsOf returns an issuer's constraints; false if they cannot be read.
func constraintsOf(issuer *x509.Certificate) (c constraints, ok bool) {
	c.permittedAddresses, c.excludedAddresses = issuer.PermittedEmailAddresses, issuer.ExcludedEmailAddresses
	value := extension(issuer, oidNameConstraints)
	if value == nil {
		return c, true
	}
	var all cryptobyte.String
	if !value.ReadASN1(&all, asn1.SEQUENCE) || !value.Empty() {
		return c, false
	}
	for _, part := range []struct {
		tag  asn1.Tag
		list *[]directoryName
	}{{tagPermitted, &c.permitted}, {tagExcluded, &c.excluded}} {
		var trees cryptobyte.String
		if !all.ReadOptionalASN1(&trees, nil, part.tag) {
			return c, false
		}
		for !trees.Empty() {
			var tree, base, least cryptobyte.String
			var tag asn1.Tag
			// A least distance is 0, which need not be written, and a greatest is not there.
			if !trees.ReadASN1(&tree, asn1.SEQUENCE) || !tree.ReadAnyASN1(&base, &tag) ||
				!tree.ReadOptionalASN1(&least, nil, tagLeast) || strings.Trim(string(least), "\x00") != "" || !tree.Empty() {
				return c, false
			}
			switch {
			case tag == tagDirectoryName:
				name, ok := readDirectoryName(base)
				if !ok {
					return c, false
				}
				*part.list = append(*part.list, name)
			case !readByOthers(tag):
				if c.other == nil {
					c.other = map[string]bool{}
				}
				c.other[form(tag, base)] = true
			}
		}
	}
	return c, all.Empty()
}

// readByOthers reports whether crypto/x509 reads names of a form: of mail, DNS, URIs
// and addresses of hosts.
func readByOthers(tag asn1.Tag) bool {
	for _, number := range []asn1.Tag{1, 2, 6, 7} {
		if tag == number.ContextSpecific() {
			return true
		}
	}
	return false
}

// form tells apart forms of GeneralNames: by the tag, and an otherName by its type.
func form(tag asn1.Tag, name cryptobyte.String) string {
	var id cryptobyte.String
	if tag == tagOtherName {
		name.ReadASN1(&id, asn1.OBJECT_IDENTIFIER)
	}
	return string(rune(tag)) + string(id)
}

// exclude says why a certificate with these names must not have been issued, "" if it
// could.
func (c *constraints) exclude(n names) (why string) {
	for _, address := range n.addresses {
		if !permits(address, c.permittedAddresses, c.excludedAddresses, withinConstraint) || c.vague(address) {
			return "the issuer's name constraints exclude an address"
		}
	}
	for _, name := range n.directory {
		if !permits(name, c.permitted, c.excluded, directoryName.within) {
			return "the issuer's name constraints exclude the subject, or a name beside it"
		}
	}
	for form := range c.other {
		if n.forms[form] {
			return "the issuer's name constraints are of a kind of name that is not understood, and that the certificate has"
		}
	}
	return ""
}

// permits reports whether a name is in no subtree that is excluded, and in one of those
// that are permitted, if there are any.
func permits[N, C any](name N, permitted, excluded []C, within func(N, C) bool) bool {
	in := func(constraint C) bool { return within(name, constraint) }
	return !slices.ContainsFunc(excluded, in) && (len(permitted) == 0 || slices.ContainsFunc(permitted, in))
}

// vague reports whether an address cannot be held against the constraints: these are
// A-labels, and RFC 9598 wants such in addresses, too.
func (c *constraints) vague(address string) bool {
	return len(c.permittedAddresses)+len(c.excludedAddresses) > 0 && !isASCII(address[strings.LastIndexByte(address, '@')+1:])
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// withinConstraint reports whether an address falls under a constraint, which
// is a mailbox, a host, or, with a dot before it, all hosts of a domain.
func withinConstraint(address, constraint string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return false
	}
	domain := address[at+1:]
	if i := strings.LastIndexByte(constraint, '@'); i >= 0 {
		return address[:at] == constraint[:i] && strings.EqualFold(domain, constraint[i+1:])
	}
	if strings.HasPrefix(constraint, ".") {
		return len(domain) > len(constraint) && strings.EqualFold(domain[len(domain)-len(constraint):], constraint)
	}
	return strings.EqualFold(domain, constraint)
}

// A directoryName is a Name: its relative names from the root on, each the attributes
// that it has.
type directoryName [][]attribute

// An attribute is comparable as RFC 5280 section 7.1 has it, and OpenSSL does: without
// the case of ASCII letters, without space around it, and with one space in the place of
// several.
type attribute struct{ id, value string }

// within reports whether a name is in the subtree of another: at it or below it.
func (n directoryName) within(top directoryName) bool {
	return len(n) >= len(top) && slices.EqualFunc(n[:len(top)], top, slices.Equal[[]attribute])
}

// readDirectoryName reads a Name; false if it is none.
func readDirectoryName(der cryptobyte.String) (name directoryName, ok bool) {
	var sets cryptobyte.String
	if !der.ReadASN1(&sets, asn1.SEQUENCE) || !der.Empty() {
		return nil, false
	}
	for !sets.Empty() {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, asn1.SET) {
			return nil, false
		}
		var attributes []attribute
		for !set.Empty() {
			var pair, id, value cryptobyte.String
			var tag asn1.Tag
			if !set.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) || !pair.ReadAnyASN1(&value, &tag) {
				return nil, false
			}
			attributes = append(attributes, attribute{string(id), plain(value, tag)})
		}
		slices.SortFunc(attributes, func(a, b attribute) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.value, b.value)) })
		name = append(name, attributes)
	}
	return name, true
}

// plain returns an attribute's value as it is compared.
func plain(value []byte, tag asn1.Tag) string {
	read := text(value, tag)
	if read == nil {
		return string(rune(tag)) + string(value)
	}
	isSpace := func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, string(read))
	return strings.Join(strings.FieldsFunc(lower, isSpace), " ")
}

// extension returns the value of an extension, nil if it is not there.
func extension(cert *x509.Certificate, id encoding.ObjectIdentifier) cryptobyte.String {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}
