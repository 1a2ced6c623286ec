package certsource

import (
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// readTime reads a Time (RFC 5280 section 4.1.2.5). Beyond what RFC 5280
// allows, the seconds may be missing, a fraction of them (ignored) may be
// there, and a zone other than Z: such certificates have been issued.
func readTime(s *cryptobyte.String) (time.Time, bool) {
	var text cryptobyte.String
	var tag asn1.Tag
	if !s.ReadAnyASN1(&text, &tag) {
		return time.Time{}, false
	}
	var year int
	ok := true
	switch tag {
	case asn1.UTCTime:
		year = digits(&text, 2, &ok)
		if year < 50 {
			year += 100
		}
		year += 1900
	case asn1.GeneralizedTime:
		year = 100*digits(&text, 2, &ok) + digits(&text, 2, &ok)
	default:
		return time.Time{}, false
	}
	month, day := digits(&text, 2, &ok), digits(&text, 2, &ok)
	hour, minute := digits(&text, 2, &ok), digits(&text, 2, &ok)
	second := 0
	if len(text) > 0 && isDigit(text[0]) {
		second = digits(&text, 2, &ok)
	}
	if len(text) > 1 && text[0] == '.' {
		for text = text[1:]; len(text) > 0 && isDigit(text[0]); text = text[1:] {
		}
	}
	offset := zone(&text, &ok)
	if !ok || len(text) > 0 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if second < 60 && t.Day() != day { // 31 June
		return time.Time{}, false
	}
	return t.Add(-offset), true
}

// zone reads Z or ±hhmm.
func zone(text *cryptobyte.String, ok *bool) time.Duration {
	if len(*text) == 0 {
		*ok = false
		return 0
	}
	sign := (*text)[0]
	*text = (*text)[1:]
	if sign == 'Z' {
		return 0
	}
	hours, minutes := digits(text, 2, ok), digits(text, 2, ok)
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	switch {
	case hours > 23 || minutes > 59:
		*ok = false
	case sign == '-':
		return -offset
	case sign != '+':
		*ok = false
	}
	return offset
}

// digits reads a decimal number of n digits, and clears ok if there is none.
func digits(text *cryptobyte.String, n int, ok *bool) int {
	if len(*text) < n {
		*ok = false
		return 0
	}
	number := 0
	for _, c := range (*text)[:n] {
		if !isDigit(c) {
			*ok = false
		}
		number = 10*number + int(c-'0')
	}
	*text = (*text)[n:]
	return number
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
