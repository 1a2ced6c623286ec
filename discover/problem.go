package discover

import (
	"errors"

	"coredns-smimea/certsource"
)

// A Code says in one word what a [Problem] is. It is stable; new ones can come.
type Code string

// The codes of verdicts.
const (
	// Matched: the certificate is the one that the records name.
	Matched Code = "matched"
	// Denied: the domain says, signed, that there is none.
	Denied Code = "denied"
	// Mismatch: the records name another certificate than the one found.
	Mismatch Code = "mismatch"
	// UnknownAuthority: the records demand a known authority (usages 0 and 1).
	UnknownAuthority Code = "unknown_authority"
	// NoRecord: no usable SMIMEA record says which certificate is right.
	NoRecord Code = "no_record"
	// NotSigned: the zone is not signed.
	NotSigned Code = "not_signed"
	// NothingFound: there are records, but no certificate that they could name.
	NothingFound Code = "nothing_found"
	// Interrupted: the context ended before the verdict was known.
	Interrupted Code = "interrupted"
)

// The codes of DNS look-ups.
const (
	NoAnswer      Code = "no_answer"     // servers do not answer, or with an error
	Bogus         Code = "bogus"         // the answer does not validate
	Indeterminate Code = "indeterminate" // no trust anchor is above the name
)

// The codes of certificates. Those that certsource refuses have the words of
// [certsource.Reason].
const (
	Expired       Code = "expired"
	NotYetValid   Code = "not_yet_valid"
	OtherAddress  Code = "other_address"
	NotToEncrypt  Code = "not_to_encrypt"
	NotToSign     Code = "not_to_sign"
	Revoked       Code = "revoked"
	NotForMail         = Code(certsource.Purpose)
	NoMailAddress      = Code(certsource.NoAddress)
)

// The codes of downloads.
const (
	Unreachable    Code = "unreachable"     // no connection, no TLS, or no whole answer
	BadStatus      Code = "bad_status"      // the web server fails, or is busy
	NotThere       Code = "not_there"       // the web server says that it is not there (404, 410)
	BadURL         Code = "bad_url"         // no URL, or not one of https
	AwayFromHTTPS  Code = "away_from_https" // a redirect to another scheme
	ForeignHost    Code = "foreign_host"    // a host of another domain, which nothing signed names
	PrivateAddress Code = "private_address" // an address that is not a public one
	TooManyHops    Code = "too_many_hops"   // redirects
	TooLarge       Code = "too_large"
	BadEncoding    Code = "bad_encoding" // compressed in a way that was not asked for
	NoCertificate  Code = "no_certificate"
	NotWaitedFor   Code = "not_waited_for" // the verdict was known without it
)

// A Problem is something that went wrong, or is said of a verdict: a code for
// programs, and a text for people, which can change. It is an error, too: the
// errors of [Records] and [Download] have one in them for [errors.As].
type Problem struct {
	Code Code
	Text string
}

func (p Problem) String() string { return p.Text }
func (p Problem) Error() string  { return p.Text }

// problemOf returns what an error is about; errors of others have the code given.
func problemOf(err error, otherwise Code) Problem {
	var p Problem
	if errors.As(err, &p) {
		otherwise = p.Code
	}
	return Problem{otherwise, err.Error()}
}

// isFinal reports whether asking again will not help: what is published is at
// fault. Others, such as a server that is down, may get better; a private address
// is one that another client may be allowed to ask.
func isFinal(err error) bool {
	var p Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Code {
	case NotThere, BadURL, AwayFromHTTPS, ForeignHost, TooManyHops, TooLarge, BadEncoding, NoCertificate:
		return true
	}
	return false
}
