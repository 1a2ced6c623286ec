package discover

import (
	"slices"
	"time"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// verdict comes to the verdict, of what was found and judged.
func (l *lookup) verdict() (Verdict, Problem) {
	v, why := l.outcome()
	if l.cut && v != Verified {
		return Unknown, Problem{Interrupted, "time was up before all certificates were judged"}
	}
	return v, why
}

func (l *lookup) outcome() (Verdict, Problem) {
	if l.SMIMEA.Err != nil {
		return Unknown, problemOf(l.SMIMEA.Err, NoAnswer)
	}
	secure := l.SMIMEA.Security == dnssec.Secure
	named := secure && len(l.associations.records) > 0
	var best *Certificate
	if len(l.Certificates) > 0 {
		best = l.Certificates[0]
	}
	switch {
	case named && best == nil:
		return l.unfound()
	case best != nil && !best.usable():
		return Wrong, best.Problems[0]
	case named && best.Match != Unmatched:
		return Verified, Problem{Matched, "the certificate is the one that the signed SMIMEA records name" + best.Match.limits()}
	case named && l.demandsRoots() && best.Untrusted != "":
		return Wrong, Problem{UnknownAuthority, "the signed SMIMEA records demand a known authority (usage 0 or 1), but " + best.Untrusted}
	case named:
		return Wrong, Problem{Mismatch, "the signed SMIMEA records name another certificate than the one found"}
	case best != nil && secure:
		return Unverified, Problem{NoRecord, "a certificate was found, but no usable SMIMEA record says that it is right" + l.whyUnusable()}
	case best != nil:
		return Unverified, Problem{NotSigned, "a certificate was found, but the zone is not signed: " + l.SMIMEA.why()}
	}
	return l.nothing(secure)
}

// whyUnusable says of the first SMIMEA record that is not usable why.
func (l *lookup) whyUnusable() string {
	if len(l.SMIMEA.Unusable) == 0 {
		return ""
	}
	return " (" + l.SMIMEA.Unusable[0] + ")"
}

// demandsRoots reports whether some record only counts with a known authority.
func (l *lookup) demandsRoots() bool {
	return slices.ContainsFunc(l.associations.records, func(a association) bool { return a.Usage <= smimea.UsagePKIXEE })
}

// unfound is the verdict where there are signed SMIMEA records, and no certificate.
func (l *lookup) unfound() (Verdict, Problem) {
	err := l.downloadError()
	switch {
	case l.TXT.Err != nil && l.TXT.Name != "":
		return Unknown, problemOf(l.TXT.Err, NoAnswer)
	case (err == nil || isFinal(err)) && l.guessed:
		return Unknown, Problem{NothingFound, "there are SMIMEA records, but no TXT record says where the certificate is, and it is not at the usual place"}
	case err == nil:
		return Wrong, Problem{NothingFound, "there are SMIMEA records, but the TXT record leads to no user's certificate"}
	case isFinal(err):
		why := problemOf(err, Unreachable)
		return Wrong, Problem{why.Code, "there are SMIMEA records, but the TXT record does not lead to a certificate: " + why.Text}
	}
	why := problemOf(err, Unreachable)
	return Unknown, Problem{why.Code, "there are SMIMEA records, but the certificate cannot be had: " + why.Text}
}

// nothing is the verdict where there is no certificate, and no SMIMEA record
// that could be used.
func (l *lookup) nothing(secure bool) (Verdict, Problem) {
	if l.TXT.Err != nil && l.TXT.Name != "" {
		return Unknown, problemOf(l.TXT.Err, NoAnswer)
	}
	if len(l.TXT.Data) > 0 {
		if err := l.downloadError(); isFinal(err) {
			return Wrong, problemOf(err, NoCertificate)
		} else if err != nil {
			return Unknown, problemOf(err, Unreachable)
		}
	}
	switch {
	case !secure:
		return Unverified, Problem{NotSigned, "nothing was found, and the zone is not signed, so that there could be something all the same: " + l.SMIMEA.why()}
	case len(l.SMIMEA.Data) > 0:
		return Unverified, Problem{NoRecord, "no SMIMEA record is usable, and no certificate was found" + l.whyUnusable()}
	case l.TXT.Name != "" && l.TXT.Security != dnssec.Secure:
		return Unverified, Problem{NotSigned, "nothing was found, but that there is no TXT record is not signed"}
	}
	return None, Problem{Denied, "the domain says, signed, that it has no certificate of the address"}
}

// downloadError returns the gravest reason why a download failed: one that may
// go away rather than one that will not.
func (l *lookup) downloadError() error {
	var found error
	for _, d := range l.Downloads {
		if d.Err != nil && (found == nil || !isFinal(d.Err)) {
			found = d.Err
		}
	}
	return found
}

// Limits of how long a result may be kept.
const (
	maxKept  = time.Hour
	noneKept = 5 * time.Minute // a denial
)

func (l *lookup) expires() time.Time {
	if l.Verdict == Unknown || l.Verdict == Wrong {
		return time.Time{}
	}
	kept := maxKept
	for _, r := range []Records{l.SMIMEA, l.TXT} {
		ttl := r.TTL
		if len(r.Data) == 0 {
			ttl = noneKept
		}
		kept = min(kept, ttl)
	}
	until := l.now.Add(kept)
	if len(l.Certificates) > 0 && l.Certificates[0].NotAfter.Before(until) {
		until = l.Certificates[0].NotAfter
	}
	return until
}
