// Package smimea turns mail addresses and certificates into DNS names and record
// data. It has no state.
//
// An [Address] has two owner names. The one of RFC 8162 hides the local-part
// in a digest and holds SMIMEA records, which say which certificate is the
// right one:
//
//	c93f1e40…c1afd6._smimecert.example.com.
//
// The other one has the local-part in clear and holds TXT records, which say
// where the certificate can be downloaded:
//
//	firstname.lastname._smime.example.com.
//
// [Association] makes the data of the first, [URLTemplate] and [AppendText]
// that of the second. Zones of them are in package smimea/zone.
//
// The package reads no files, opens no sockets and logs nothing.
package smimea
