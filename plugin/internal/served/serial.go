package served

import "time"

// Tick is the unit of serials: a serial is the time of the newest change that
// a zone shows, in quarters of a second since 1970, modulo 2^32. That half of
// all serials (RFC 1982) is then seventeen years, and four changes a second have
// a serial of their own without running ahead of the clock.
const Tick = 250 * time.Millisecond

// oldest is the time of all that is older: the serials of a file from 1970 and of
// one from today would be too far apart for RFC 1982.
var oldest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// SerialAt returns the serial of a time. Zero is no serial: a secondary would
// take it for none.
func SerialAt(t time.Time) uint32 {
	if t.Before(oldest) {
		t = oldest
	}
	return max(1, uint32((t.UnixNano()+int64(Tick)-1)/int64(Tick)))
}

// NextSerial returns the serial of a zone's next version. It comes from the times
// of files, so that two servers with the same directory have the same; where
// these say nothing newer than last, it is the one after last.
func NextSerial(last uint32, newest time.Time) uint32 { return later(SerialAt(newest), last) }

// later returns a serial, or the one after last if it is not a later one than
// last. Last may be 0: then there has been none.
func later(serial, last uint32) uint32 {
	if !Later(serial, last) {
		return max(1, last+1)
	}
	return serial
}

// Later reports whether a serial is later than last (RFC 1982), or there has been none.
func Later(serial, last uint32) bool { return last == 0 || int32(serial-last) > 0 }
