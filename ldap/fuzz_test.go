package ldap

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"coredns-smimea/internal/harness"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// requests are good ones of each kind, to be made bad.
func requests() [][]byte {
	extended := message(9, opExtended, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(classContext), func(b *cryptobyte.Builder) { b.AddBytes([]byte("1.3.6.1.4.1.4203.1.11.3")) })
	})
	// (&(objectClass=*)(|(mail=hugh@example.com)(cn=*hugh@example.com*))(!(sn~=x))(mail:=y@example.com)), with pages
	nested := message(10, opSearch, func(b *cryptobyte.Builder) {
		addString(b, "dc=example,dc=com")
		b.AddASN1Enum(2)
		b.AddASN1Enum(0)
		b.AddASN1Int64(10)
		b.AddASN1Int64(10)
		b.AddASN1Boolean(false)
		b.AddASN1(filterAnd, func(b *cryptobyte.Builder) {
			b.AddASN1(filterPresent, func(b *cryptobyte.Builder) { b.AddBytes([]byte("objectClass")) })
			b.AddASN1(filterOr, func(b *cryptobyte.Builder) {
				b.AddASN1(filterEqual, func(b *cryptobyte.Builder) { addString(b, "mail"); addString(b, "hugh@example.com") })
				b.AddASN1(filterSubstrings, func(b *cryptobyte.Builder) {
					addString(b, "cn")
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(classContext|1, func(b *cryptobyte.Builder) { b.AddBytes([]byte("hugh@example.com")) })
					})
				})
			})
			b.AddASN1(filterNot, func(b *cryptobyte.Builder) {
				b.AddASN1(filterApprox, func(b *cryptobyte.Builder) { addString(b, "sn"); addString(b, "x") })
			})
			b.AddASN1(filterExtensible, func(b *cryptobyte.Builder) {
				b.AddASN1(classContext|2, func(b *cryptobyte.Builder) { b.AddBytes([]byte("mail")) })
				b.AddASN1(classContext|3, func(b *cryptobyte.Builder) { b.AddBytes([]byte("y@example.com")) })
			})
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addString(b, "usercertificate;binary") })
	}, func(b *cryptobyte.Builder) {
		b.AddASN1(classContext|constructed, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addString(b, oidPaged)
				b.AddASN1Boolean(true)
				addString(b, "\x30\x06\x02\x02\x03\xe8\x04\x00")
			})
		})
	})
	return [][]byte{
		{0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0},
		searchMessage(2, "hugh@example.com"), nested, extended,
		{0x30, 6, 2, 1, 3, opAbandon, 1, 2},
		message(4, opDelete, func(b *cryptobyte.Builder) { b.AddBytes([]byte("cn=x")) }),
		{0x30, 5, 2, 1, 5, opUnbind, 0},
	}
}

// A talk is a connection on which a client says something and hangs up.
type talk struct {
	net.Conn // a pipe's, for what else a connection can
	in       *bytes.Reader
	out      int
}

func (c *talk) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *talk) Write(b []byte) (int, error)      { c.out += len(b); return len(b), nil }
func (c *talk) Close() error                     { return nil }
func (c *talk) SetReadDeadline(time.Time) error  { return nil }
func (c *talk) SetWriteDeadline(time.Time) error { return nil }

// say has a server answer octets, without a network, and returns how many
// octets it answers.
func say(s *Server, octets []byte) int {
	s.init()
	c := &talk{in: bytes.NewReader(octets)}
	newSession(s, c).run(false)
	return c.out
}

// FuzzRequests holds that no octets make the server panic or hang.
func FuzzRequests(f *testing.F) {
	for _, r := range requests() {
		f.Add(r)
	}
	f.Add(bytes.Join(requests(), nil))
	s := newServer(f)
	f.Fuzz(func(t *testing.T, octets []byte) { say(s, octets) })
}

// FuzzFilter holds that a filter that can be read can be evaluated, with one of
// three values, of which "not" is another.
func FuzzFilter(f *testing.F) {
	f.Add([]byte{filterPresent, 2, 'c', 'n'})
	f.Add([]byte("\xa9\x10\x82\x04mail\x83\x08hugh@a.b"))
	e, err := certificateEntry("", "hugh@example.com", Certificate{Raw: leaf(f, "hugh@example.com")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		b := ber(octets)
		tree, err := parseFilter(&b, 0)
		if err != nil {
			return
		}
		tree.addresses(func(string, bool) {})
		value := tree.matches(e)
		not := filter{kind: filterNot, parts: []filter{tree}}
		if opposite := not.matches(e); (value == undefined) != (opposite == undefined) || value != undefined && value == opposite {
			t.Errorf("%x is %d, and not of it %d", octets, value, opposite)
		}
	})
}

// TestMutated sends a hundred thousand broken requests, over connections of
// which each ends with the first that is malformed; no memory and no goroutine
// stays.
func TestMutated(t *testing.T) {
	s := newServer(t)
	addr := serve(t, s)
	random := rand.New(rand.NewPCG(13, 2026))
	good := requests()
	mutate := func() []byte {
		r := bytes.Clone(good[random.IntN(len(good))])
		for range 1 + random.IntN(4) {
			at := random.IntN(len(r))
			switch random.IntN(5) {
			case 0:
				r[at] ^= 1 << random.IntN(8)
			case 1:
				r[at] = byte(random.Uint32())
			case 2:
				r = append(r[:at:at], append([]byte{byte(random.Uint32())}, r[at:]...)...)
			case 3:
				if len(r) > 1 {
					r = append(r[:at:at], r[at+1:]...)
				}
			case 4:
				r = r[:max(at, 1)]
			}
		}
		return r
	}
	const total, wired = 100_000, 2_000
	for range 1000 {
		say(s, mutate())
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	for range total - wired {
		say(s, mutate())
	}
	for range wired {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(harness.Patience))
		conn.Write(mutate())
		conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatal("a connection hangs")
			}
		}
		conn.Close()
	}
	w := dialWire(t, addr)
	w.send(searchMessage(1, "hugh@example.com"))
	w.found(1)
	w.Close()
	if !harness.Wait(harness.Patience, nil, func() bool { return s.Connections() == 0 && runtime.NumGoroutine() <= goroutines+2 }) {
		t.Errorf("%d connections stay, and %d goroutines; there were %d", s.Connections(), runtime.NumGoroutine(), goroutines)
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap has grown from %d to %d octets", before, after)
	}
}

// heap is how many octets are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestReadHeader holds lengths against what they promise.
func TestReadHeader(t *testing.T) {
	for octets, want := range map[string]error{
		"":             io.EOF,
		"\x30":         io.ErrUnexpectedEOF,
		"\x30\x82\x01": io.ErrUnexpectedEOF,
		"\x30\x05\x02": io.ErrUnexpectedEOF,
		"\x31\x00":     errBER,
	} {
		if _, err := readMessage(bufio.NewReader(bytes.NewReader([]byte(octets))), 1000); err != want {
			t.Errorf("%x: %v; want %v", octets, err, want)
		}
	}
}
