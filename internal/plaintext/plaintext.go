// Package plaintext reads text files as they come from other systems.
package plaintext

import (
	"bytes"
	"unicode/utf16"
)

// Decode returns text without a byte order mark: Windows saves UTF-8 with such a mark,
// and its PowerShell UTF-16. Data without a mark is returned as it is.
func Decode(data []byte) []byte {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:]
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return fromUTF16(data[2:], 0)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fromUTF16(data[2:], 1)
	}
	return data
}

// fromUTF16 returns the UTF-8 of UTF-16 whose low octets come first (low 0) or
// second (low 1).
func fromUTF16(data []byte, low int) []byte {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, uint16(data[low])|uint16(data[1-low])<<8)
	}
	return []byte(string(utf16.Decode(units)))
}
