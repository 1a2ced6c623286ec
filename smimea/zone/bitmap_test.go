package zone

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func TestAppendBitmap(t *testing.T) {
	for _, types := range [][]uint16{
		{},
		{dns.TypeSMIMEA, dns.TypeRRSIG, dns.TypeNSEC},
		{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNXNAME},
		{1, 1234, 15, 46, 47, 1},
		{255, 256, 65535, 32768, 511},
	} {
		rr, err := unpack(dns.TypeNSEC, AppendBitmap([]byte{0}, types...))
		if err != nil {
			t.Errorf("unpacking the bitmap of %v: %v", types, err)
			continue
		}
		want := slices.Clone(types)
		slices.Sort(want)
		want = slices.Compact(want)
		if got := rr.(*dns.NSEC).TypeBitMap; !slices.Equal(got, want) {
			t.Errorf("the bitmap of %v is read as %v", types, got)
		}
	}
	// RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
	want := "\x00\x06\x40\x01\x00\x00\x00\x03\x04\x1b" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20"
	if got := AppendBitmap(nil, 1, 15, 46, 47, 1234); string(got) != want {
		t.Errorf("the bitmap of RFC 4034 is %q; want %q", got, want)
	}
}

// unpack reads the data of a record as other servers do.
func unpack(rrtype uint16, rdata []byte) (dns.RR, error) {
	header := dns.RR_Header{Name: ".", Rrtype: rrtype, Class: dns.ClassINET, Rdlength: uint16(len(rdata))}
	rr, _, err := dns.UnpackRRWithHeader(header, rdata, 0)
	return rr, err
}
