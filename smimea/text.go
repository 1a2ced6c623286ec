package smimea

// MaxString is the most octets of a character-string (RFC 1035 section 3.3).
const MaxString = 255

// AppendText appends the data of a TXT record that holds s. A longer s than 255
// octets is split into strings, which readers join with nothing between them.
func AppendText(dst []byte, s string) []byte {
	for len(s) > MaxString {
		dst = append(dst, MaxString)
		dst = append(dst, s[:MaxString]...)
		s = s[MaxString:]
	}
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}
