package dnssec

import (
	"fmt"

	"github.com/miekg/dns"
)

// A Security is how far an answer can be trusted. The greater the better.
type Security int

// The states of RFC 4033 section 5.
const (
	// Indeterminate: there is no trust anchor above the name.
	Indeterminate Security = iota
	// Bogus: there should be signatures that hold, and there are not. The
	// answer is a forgery, or the zone is broken: nothing is known.
	Bogus
	// Insecure: a parent zone says, signed, that there are no signatures.
	Insecure
	// Secure: signed, all the way from a trust anchor.
	Secure
)

func (s Security) String() string {
	return [...]string{"indeterminate", "bogus", "insecure", "secure"}[s]
}

// A Reason says in one word, for programs, why an answer is not [Secure]. Most
// have a number in RFC 8914 section 4, which is given.
type Reason string

// Why an answer is [Indeterminate].
const (
	NoAnchor Reason = "no_anchor" // 5
)

// Why an answer is [Insecure].
const (
	Unsigned    Reason = "unsigned"         // delegated without a DS record
	OptOut      Reason = "opt_out"          // it can be in such a zone (RFC 5155 section 6)
	Unsupported Reason = "unsupported"      // 1 and 2: algorithms or digests that are not looked at
	Iterations  Reason = "nsec3_iterations" // 27: NSEC3 hashes too often (RFC 9276)
	NoAD        Reason = "no_ad"            // [Trusting]: the resolver does not say that it is signed
)

// Why an answer is [Bogus].
const (
	SignatureMissing Reason = "signature_missing"       // 10
	SignatureWrong   Reason = "signature_wrong"         // 6
	SignatureExpired Reason = "signature_expired"       // 7
	SignatureEarly   Reason = "signature_not_yet_valid" // 8
	KeyMissing       Reason = "dnskey_missing"          // 9: no key is the one that a DS record or a signature names
	KeyUnusable      Reason = "dnskey_unusable"         // RSA keys that are too short, or have too large an exponent
	DenialMissing    Reason = "nsec_missing"            // 12: nothing proves that something does not exist
	WildcardWrong    Reason = "wildcard"                // records that no wildcard can have are a wildcard's
	AliasWrong       Reason = "alias"                   // aliases without an end, or several at one name
	TooMuchWork      Reason = "too_much_work"           // more than a look-up is worth (CVE-2023-50387)
)

// A judgement is how far something can be trusted, and why not further.
type judgement struct {
	security Security
	reason   Reason
	why      string
}

func insecure(reason Reason, format string, args ...any) judgement {
	return judgement{Insecure, reason, fmt.Sprintf(format, args...)}
}

func bogus(reason Reason, format string, args ...any) judgement {
	return judgement{Bogus, reason, fmt.Sprintf(format, args...)}
}

// A SecurityError is an answer that must not be used: see [Answer.Err].
type SecurityError struct {
	Security Security // Bogus or Indeterminate
	Reason   Reason
	Why      string
}

func (e *SecurityError) Error() string {
	return fmt.Sprintf("the answer is %s: %s", e.Security, e.Why)
}

// A ServerError is an answer that is none: SERVFAIL, REFUSED and the like. It
// says nothing about the name: ask again later, or ask somebody else.
type ServerError struct {
	Name  string
	Type  uint16
	Rcode int
	Extra string // what the server said about it (RFC 8914)
}

func (e *ServerError) Error() string {
	s := fmt.Sprintf("the server answers %s to %s %s", rcodeName(e.Rcode), e.Name, dns.Type(e.Type))
	if e.Extra != "" {
		s += " (" + e.Extra + ")"
	}
	return s
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", rcode)
}

// An UnsignedError is a failure to answer for a name whose zone is [Insecure]:
// whatever its servers may answer one day, it cannot be trusted.
type UnsignedError struct {
	Reason Reason
	Why    string // why the zone is Insecure
	Err    error  // how its servers failed, a [ServerError] for example
}

func (e *UnsignedError) Error() string { return e.Err.Error() + "; " + e.Why }

func (e *UnsignedError) Unwrap() error { return e.Err }
