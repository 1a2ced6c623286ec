// Package answer answers questions about names of ours, from a snapshot, without a
// lock.
//
// The way down: [Block.Query] finds the zone that a question is about; [Query.Answer]
// decides what there is to say, as an [Answer] (query.go, deny.go); [Query.Write]
// makes octets or a message of it, and sends that (write.go).
// [Direct.Answer] is a short way from a packet to the octets of its reply (direct.go),
// for what needs neither another plugin nor a new signature.
package answer

import (
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// A Block is what the answers of one server block depend on. It does not change
// once queries come in.
type Block struct {
	Index    *zone.Index                       // of the zones
	Snapshot *atomic.Pointer[publish.Snapshot] // what is served; nil while nothing is
	Signer   *sign.Signer                      // nil: nothing is signed
	Now      func() time.Time                  // the clock
	// Offer takes signatures that a query needed, to be kept.
	Offer func(sign.Batch)
	// Next is the plugin behind us.
	Next plugin.Handler

	// OwnKeys: DNSKEY records come from Signer, and not from the plugins behind us.
	OwnKeys bool
	// SignBelow: *dnssec* stands above us and signs answers, though not denials.
	SignBelow bool
	// TakesOctets: the plugins above us let answers pass that are octets.
	TakesOctets bool
	// Challenges returns the records of an ACME challenge of ours that answers a
	// question, if there is one. It is nil if challenges come to none of our names.
	Challenges func(r *dns.Msg) []dns.RR

	UDPLimit int    // octets of an answer over UDP, at the most
	TCPOnly  bool   // SMIMEA records go out over TCP only
	Denials  *Limit // of signed denials over UDP; nil: none
	Kept     *Kept  // signed denials that may be asked for again
}

// A Result is how a query was answered. Its order is that of its names.
type Result uint8

const (
	Answered  Result = iota // with records, or by another plugin
	NoData                  // the name has no records of the type
	NameError               // the name does not exist
	Truncated               // to be asked for again over TCP
	Failed                  // by an rcode that says so, or not at all
	Results                 // how many there are
)

var resultNames = [Results]string{"success", "nodata", "nxdomain", "truncated", "failure"}

// String returns the result as the metrics name it.
func (r Result) String() string { return resultNames[r] }

// An Answer is what there is to say to a query, before it is a message.
type Answer struct {
	Result Result
	Rcode  int // of the message, or, with Refused, what the caller has to send

	// Refused: there is no message of ours; CoreDNS makes one of Rcode.
	Refused bool
	// Passed: another plugin has written its answer, with Rcode.
	Passed bool

	// Owner: the answer section is the records that the zone keeps at the name,
	// with their signatures.
	Owner bool
	// Records are the answer section otherwise, with their signatures.
	Records []dns.RR
	// Denial is the authority section: the SOA record and what proves that there
	// is nothing else.
	Denial []dns.RR
	// Truncated: nothing goes out but word to ask again over TCP.
	Truncated bool
}

// refuse makes an answer one without a message of ours.
func (a *Answer) refuse(rcode int) { *a = Answer{Result: Failed, Rcode: rcode, Refused: true} }

// truncate makes an answer one that says only to ask again over TCP.
func (a *Answer) truncate() { *a = Answer{Result: Truncated, Truncated: true} }

// pass makes an answer the one that another plugin has written.
func (a *Answer) pass(rcode int, err error) error {
	*a = Answer{Result: Answered, Rcode: rcode, Passed: true}
	return err
}
