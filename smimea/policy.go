package smimea

import (
	"errors"
	"slices"
	"strings"
)

// A Policy says what is published of a certificate. The server publishes by it, and
// `smimea check` and `smimea records` tell what it would publish.
type Policy struct {
	Records []Association // of the SMIMEA records
	URL     URLTemplate   // of the TXT records; the zero one: there are none
	Lower   bool          // publish under the lower-case form of the local-part, too
}

// A Source is what the publication of a certificate depends on besides its octets.
type Source struct {
	// Path is where its file lies below the directory, with slashes.
	Path string
	// Shared is true if the file has certificates of other users as well: see [Shared].
	Shared bool
	// Encrypts is true if one can encrypt to the certificate's key.
	Encrypts bool
}

// An Entry is what is published of a certificate at one of its addresses, beside the
// records of [Policy.Data].
type Entry struct {
	Address Address
	URL     string // of the TXT record, "" if there is none
	// NoText is why there is no TXT record. It is nil if there is one, or if the
	// policy wants none.
	NoText error
}

// ErrSignOnly is why the certificate of a key that one cannot encrypt to has no TXT
// record: that is an invitation to encrypt.
var ErrSignOnly = errors.New("no TXT: nobody can encrypt to the key")

var errUnservable = errors.New("no TXT: https serves no file whose name has a backslash or control characters, or is that long: rename it")

// Shared reports whether the certificates of one file, given by their addresses as
// certified, are of several users: then the file's own name leads to nobody's
// certificate in particular.
func Shared(addresses ...[]string) bool {
	for _, other := range addresses[1:] {
		for _, a := range addresses[0] {
			if !slices.Contains(other, a) {
				return true
			}
		}
		if len(other) != len(addresses[0]) {
			return true
		}
	}
	return false
}

// Data returns the data of the SMIMEA records that stand for a certificate, given as
// DER, with its SubjectPublicKeyInfo's.
func (p *Policy) Data(cert, spki []byte) (data [][]byte) {
	for _, a := range p.Records {
		data = append(data, a.Append(nil, cert, spki))
	}
	return data
}

// Entry returns what is published at an address as certified. The error says why
// nothing is: it is no address of mail, or none that has a name in the DNS.
func (p *Policy) Entry(address string, s Source) (Entry, error) {
	a, err := ParseAddress(address)
	if err != nil {
		return Entry{}, err
	}
	return p.At(a, s), nil
}

// At is [Policy.Entry] for an address that has been parsed.
func (p *Policy) At(a Address, s Source) Entry {
	e := Entry{Address: a}
	if p.URL == (URLTemplate{}) {
		return e
	}
	file := s.Path
	if s.Shared {
		file = a.Label() + ".crt"
	}
	_, err := a.TextOwner()
	switch url := p.URL.Expand(a.Domain, file, a.Label()); {
	case !s.Encrypts:
		e.NoText = ErrSignOnly
	case err != nil:
		e.NoText = err
	case strings.Contains(p.URL.text, wellKnown+"{file}") && !servable(file):
		e.NoText = errUnservable
	default:
		e.URL = url
	}
	return e
}

// wellKnown is the path that the server's own HTTPS host serves certificates below.
const wellKnown = "/.well-known/smime/"

// maxPath is the most octets that it takes of a path below that, still encoded.
const maxPath = 4096

// servable reports whether the server's own HTTPS host would serve a file: it takes
// no segment that is empty or begins with a dot, and no backslash or control character.
func servable(file string) bool {
	encoded := 0
	for segment := range strings.SplitSeq(file, "/") {
		if segment == "" || segment[0] == '.' {
			return false
		}
		encoded += len("/")
		for i := range len(segment) {
			switch c := segment[i]; {
			case c < ' ' || c == 0x7f || c == '\\':
				return false
			case isUnreserved(c):
				encoded++
			default:
				encoded += len("%XX")
			}
		}
	}
	return encoded-len("/") <= maxPath
}
