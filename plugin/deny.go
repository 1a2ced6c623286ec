package plugin

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/smimea/zone"
)

// deny says that the name does not exist, or has no records of the type. The
// SOA of the zone goes with it, for how long that may be believed (RFC 2308).
func (q *query) deny() (int, error) {
	reply := zone.NewReply(q.r)
	result := noData
	if q.name.Kind == zone.Absent {
		reply.Msg.Rcode = dns.RcodeNameError
		result = nameError
	}
	soa := q.soa()
	reply.Msg.Ns = []dns.RR{soa}
	if !q.signed {
		q.brief(reply)
		return q.write(reply, result)
	}
	keeps := q.keepsDenial()
	if keeps {
		if d := q.signer.kept.get(q.point.Zone, q.zone.Serial, q.point.Name, time.Now()); d != nil {
			reply.Msg.Ns = d.authority
			q.compact(reply)
			return q.write(reply, result)
		}
	}
	if q.udp() && !lane.Granted(q.ctx) && !q.signer.denials.take(time.Now()) {
		// A flood of names that do not exist costs a signature each. Who
		// really wants to know comes back over TCP.
		reply.Msg.Rcode = dns.RcodeSuccess
		return q.truncate(reply)
	}
	if err := q.prove(reply, soa); err != nil {
		return dns.RcodeServerFailure, err
	}
	if keeps {
		reply.Msg.Ns = slices.Clip(reply.Msg.Ns)
		q.signer.kept.put(q.point.Zone, q.zone.Serial, q.point.Name, reply.Msg.Ns)
	}
	q.compact(reply)
	q.brief(reply)
	return q.write(reply, result)
}

// compact sets the rcode of a signed denial. RFC 9824 section 3.1: the NSEC says that
// the name exists, only to say that it does not. Who knows what NXNAME is asks for
// NXDOMAIN by the CO flag (section 5).
func (q *query) compact(reply *zone.Reply) {
	if q.name.Kind == zone.Absent && !q.opt.Co() {
		reply.Msg.Rcode = dns.RcodeSuccess
	}
}

// keepsDenial reports whether the denial is the same for whoever asks next.
func (q *query) keepsDenial() bool {
	return q.zone.Layout != zone.Beside && !q.awaited && q.qtype != dns.TypeNSEC && q.qtype != dns.TypeRRSIG
}

// brief has nobody keep a denial at a name that may have a challenge the next moment.
func (q *query) brief(reply *zone.Reply) {
	if !q.awaited {
		return
	}
	for i, rr := range reply.Msg.Ns { // signatures are shared
		reply.Msg.Ns[i] = dns.Copy(rr)
		reply.Msg.Ns[i].Header().Ttl = 0
	}
}

// prove adds what makes a denial believable: signatures, and an NSEC record of
// the name with just the types that it has.
func (q *query) prove(reply *zone.Reply, soa *dns.SOA) error {
	deepen(len(q.point.Name))
	var extra []uint16
	if q.name.Kind == zone.ApexName {
		extra = q.signer.apexTypes(q.point.Zone)
	}
	if q.awaited && q.qtype != dns.TypeTXT {
		extra = []uint16{dns.TypeTXT}
	}
	nsec := q.zone.NSEC(q.name, q.point.Name, soa.Hdr.Ttl, extra...)
	proof, err := q.signer.sign([]dns.RR{nsec})
	if err != nil {
		return err
	}
	signatures.WithLabelValues("denial").Inc()
	switch q.qtype {
	case dns.TypeNSEC: // this one exists
		reply.Msg.Answer = append([]dns.RR{nsec}, proof...)
		reply.Msg.Ns = nil
		return nil
	case dns.TypeRRSIG: // and so do these
		reply.Msg.Answer, reply.Msg.Ns = proof, nil
		if records, kept := q.name.Kind == zone.ApexName, q.name.Kind == zone.Owner; kept {
			reply.Msg.Answer, err = q.signer.sign(q.zone.RRset(q.point, q.name).Records)
		} else if records {
			reply.Msg.Answer, err = q.signer.sign([]dns.RR{q.zone.SOA()})
		}
		return err
	}
	sigs, err := q.signer.soa(q.point.Zone, soa)
	if err != nil {
		return err
	}
	ns := make([]dns.RR, 0, 2+len(sigs)+len(proof))
	ns = append(append(ns, soa), sigs...)
	reply.Msg.Ns = append(append(ns, nsec), proof...)
	return nil
}

// soa returns the SOA record for a denial: the zone's own, or that of the zone
// that we stand beside, as it is now.
func (q *query) soa() *dns.SOA {
	soa := q.zone.SOA()
	if q.zone.Layout == zone.Beside {
		if others := q.zoneSOA(); others != nil {
			soa = others
		}
	}
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return soa
}

// zoneSOA asks the plugins behind us for the SOA of the zone around our names.
// It may be that of a zone above the one that we were given.
func (q *query) zoneSOA() *dns.SOA {
	reply := ask(q.ctx, q.Next, q.zone.Origin, dns.TypeSOA)
	if reply == nil {
		return nil
	}
	for _, section := range [][]dns.RR{reply.Answer, reply.Ns} {
		for _, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, q.zone.Origin) {
				c := *soa
				return &c
			}
		}
	}
	return nil
}
