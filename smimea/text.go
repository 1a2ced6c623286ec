package smimea

const maxString = 255 // octets of a character-string, RFC 1035 section 3.3

// AppendText appends the data of a TXT record that holds s. A longer s than 255
// octets is split into strings, which readers join with nothing between them.
func AppendText(dst []byte, s string) []byte {
	for len(s) > maxString {
		dst = append(dst, maxString)
		dst = append(dst, s[:maxString]...)
		s = s[maxString:]
	}
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}
