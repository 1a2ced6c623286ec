package smimea

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestAppendText(t *testing.T) {
	for _, size := range []int{0, 1, 255, 256, 510, 511, 2000} {
		s := strings.Repeat("x", size)
		rdata := AppendText([]byte("before"), s)[len("before"):]
		rr, err := unpack(dns.TypeTXT, rdata)
		if err != nil {
			t.Errorf("unpacking the text of %d octets: %v", size, err)
			continue
		}
		if got := strings.Join(rr.(*dns.TXT).Txt, ""); got != s {
			t.Errorf("the text of %d octets is read as one of %d", size, len(got))
		}
		if want := max(1, (size+254)/255); len(rr.(*dns.TXT).Txt) != want {
			t.Errorf("the text of %d octets has %d strings; want %d", size, len(rr.(*dns.TXT).Txt), want)
		}
	}
}

// unpack makes a record of rdata, as a resolver would.
func unpack(rrtype uint16, rdata []byte) (dns.RR, error) {
	wire := []byte{0, byte(rrtype >> 8), byte(rrtype), 0, 1, 0, 0, 0, 0, byte(len(rdata) >> 8), byte(len(rdata))}
	rr, _, err := dns.UnpackRR(append(wire, rdata...), 0)
	return rr, err
}
