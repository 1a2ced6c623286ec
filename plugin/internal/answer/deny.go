package answer

import (
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// deny says that the name does not exist, or has no records of the type. The
// SOA of the zone goes with it, for how long that may be believed (RFC 2308).
func (q *Query) deny(a *Answer) error {
	a.Result = NoData
	if q.name.Kind == zone.Absent {
		a.Result, a.Rcode = NameError, dns.RcodeNameError
	}
	keeps := q.signed && q.keepsDenial()
	if keeps {
		if k := q.Kept.get(q.point.Zone, q.zone.Serial, q.point.Name, q.Now()); k != nil {
			a.Denial = k.authority
			q.compact(a)
			return nil
		}
	}
	if q.signed && q.datagram() && !lane.Granted(q.ctx) && !q.Denials.Take(q.Now()) {
		// A flood of names that do not exist costs a signature each. Who
		// really wants to know comes back over TCP.
		a.truncate()
		return nil
	}
	soa := q.soa()
	a.Denial = []dns.RR{soa}
	if q.signed {
		if err := q.prove(a, soa); err != nil {
			return err
		}
		if keeps {
			a.Denial = slices.Clip(a.Denial)
			q.Kept.put(q.point.Zone, q.zone.Serial, q.point.Name, a.Denial, q.Now())
		}
		q.compact(a)
	}
	if q.awaited {
		// Nobody is to keep a denial where there may be a challenge the next moment.
		for i, rr := range a.Denial { // signatures are shared
			a.Denial[i] = dns.Copy(rr)
			a.Denial[i].Header().Ttl = 0
		}
	}
	return nil
}

// compact sets the rcode of a signed denial. RFC 9824 section 3.1: the NSEC says that
// the name exists, only to say that it does not. Who knows what NXNAME is asks for
// NXDOMAIN by the CO flag (section 5).
func (q *Query) compact(a *Answer) {
	if q.name.Kind == zone.Absent && !q.opt.Co() {
		a.Rcode = dns.RcodeSuccess
	}
}

// keepsDenial reports whether the denial is the same for whoever asks next.
func (q *Query) keepsDenial() bool {
	return q.zone.Layout != zone.Beside && !q.awaited && q.qtype != dns.TypeNSEC && q.qtype != dns.TypeRRSIG
}

// prove adds what makes a denial believable: signatures, and an NSEC record of
// the name with just the types that it has.
func (q *Query) prove(a *Answer, soa *dns.SOA) error {
	deepen(len(q.point.Name))
	var extra []uint16
	if q.awaited && q.qtype != dns.TypeTXT {
		extra = []uint16{dns.TypeTXT}
	}
	nsec, proof, err := q.nsec(q.zone, &q.point, q.name, soa, extra...)
	if err != nil {
		return err
	}
	switch q.qtype {
	case dns.TypeNSEC: // this one exists
		a.Records, a.Denial = append([]dns.RR{nsec}, proof...), nil
		return nil
	case dns.TypeRRSIG: // and so do these
		a.Records, a.Denial = proof, nil
		switch q.name.Kind {
		case zone.Owner:
			a.Records, err = q.Signer.Sign(q.zone.RRset(q.point, q.name).Records)
		case zone.ApexName:
			a.Records, err = q.Signer.Sign([]dns.RR{q.zone.SOA()})
		}
		return err
	}
	a.Denial, err = q.authority(q.point.Zone, soa, nsec, proof)
	return err
}

// nsec returns the NSEC record of a name, with the TTL of a denial's SOA, and its
// signatures. Extra are types that the name has besides.
func (b *Block) nsec(z *zone.Zone, point *zone.Point, name zone.Name, soa *dns.SOA, extra ...uint16) (*dns.NSEC, []dns.RR, error) {
	if name.Kind == zone.ApexName {
		extra = append(extra, b.Signer.ExtraTypes(point.Zone)...)
	}
	nsec := z.NSEC(name, point.Name, soa.Hdr.Ttl, extra...)
	proof, err := b.Signer.Sign([]dns.RR{nsec})
	if err == nil {
		sign.ForDenial.Count()
	}
	return nsec, proof, err
}

// authority returns the authority section of a signed denial.
func (b *Block) authority(zone int, soa *dns.SOA, nsec *dns.NSEC, proof []dns.RR) ([]dns.RR, error) {
	sigs, err := b.Signer.SOA(zone, soa)
	if err != nil {
		return nil, err
	}
	denial := make([]dns.RR, 0, 2+len(sigs)+len(proof))
	denial = append(append(denial, soa), sigs...)
	return append(append(denial, nsec), proof...), nil
}

// soa returns the SOA record for a denial: the zone's own, or that of the zone
// that we stand beside, as it is now.
func (q *Query) soa() *dns.SOA {
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
func (q *Query) zoneSOA() *dns.SOA {
	reply := neighbour.Ask(q.ctx, q.Next, q.zone.Origin, dns.TypeSOA)
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

// deepStack is more than what the signing of a denial takes of the stack.
const deepStack = 10 << 10

// deepen makes the goroutine's stack large in one step. Stacks begin small, and
// to grow one means to copy it, frame by frame: on the way down to the signing of
// a denial that would happen twice more, each time with more to copy.
//
//go:noinline
func deepen(n int) byte {
	var room [deepStack]byte
	return room[n%len(room)]
}
