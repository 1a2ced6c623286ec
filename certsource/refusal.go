package certsource

import "fmt"

// A Reason says in one word why a file is left out. It is stable: operators
// have it in metrics and alerts.
type Reason string

// The reasons that [Parse] and [Certificate.Chains] give, and those that only
// who has the file and the time can give.
const (
	PrivateKey          Reason = "private_key"
	TooLarge            Reason = "too_large"
	NoCertificate       Reason = "no_certificate"
	Malformed           Reason = "malformed"
	SeveralCertificates Reason = "several_certificates"
	Authority           Reason = "authority"
	NoAddress           Reason = "no_address"
	Purpose             Reason = "purpose"
	Untrusted           Reason = "untrusted"

	Expired    Reason = "expired"
	NotRegular Reason = "not_regular"
	Outside    Reason = "outside"
	Unreadable Reason = "unreadable"
	Revoked    Reason = "revoked"
	HeldBack   Reason = "held_back"
)

// A Refusal is why a file is left out: the error of everything that judges
// files here. It holds neither an address nor anything of a private key, so
// that it can be logged.
type Refusal struct {
	Reason Reason
	Detail string // what was seen, "" if the reason says it all
}

// Refuse returns a refusal for a reason, and what was seen.
func Refuse(reason Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail}
}

// Error says the reason in words, what was seen, and the remedy.
func (r *Refusal) Error() string {
	w, ok := words[r.Reason]
	if !ok {
		w.reason = string(r.Reason)
	}
	s := w.reason
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	if w.remedy != "" {
		s += ": " + w.remedy
	}
	return s
}

var words = map[Reason]struct{ reason, remedy string }{
	PrivateKey: {"a private key is in the file",
		"take it out of this directory, and replace the key if others could have read it; only the certificate belongs here"},
	TooLarge: {fmt.Sprintf("the file is larger than %d octets", MaxFileSize),
		"put one certificate, with its chain at most, into a file"},
	NoCertificate: {"no certificate is in the file",
		"put an X.509 certificate here, as PEM, DER, or certs-only PKCS#7"},
	Malformed: {"the certificate file is damaged",
		"copy it here again, whole, or have it issued anew"},
	SeveralCertificates: {"several end-entity certificates are in the file",
		"put each into a file of its own"},
	Authority: {"only certificates of authorities are in the file",
		"put the user's certificate here; one made with `openssl req -x509` is an authority (CA:TRUE) unless -addext basicConstraints=critical,CA:FALSE is given"},
	NoAddress: {"the certificate has no usable mail address",
		"have it issued with the address as subjectAltName (rfc822Name, or SmtpUTF8Mailbox)"},
	Purpose: {"the certificate is not for mail",
		"have it issued with the extended key usage emailProtection, or with none"},
	// What there is to do about it depends on the detail.
	Untrusted: {"the certificate does not chain to the roots, as one for mail", ""},
	Expired: {"the certificate has expired",
		"replace or remove it"},
	Unreadable: {"the file cannot be read",
		"let the server read it"},
	NotRegular: {"the name is not one of a regular file",
		"put a file there, or take the name away"},
	Revoked: {"the issuer has revoked the certificate",
		"put the user's new certificate in its place, or remove it"},
	HeldBack: {"the file, and many others, have gone",
		"put them back, or touch .withdraw in the directory if that is meant"},
	Outside: {"the symbolic link leads out of the directory, or nowhere",
		"copy the certificate into the directory"},
}
