// Package smimea turns mail addresses and certificates into DNS names and
// records, and zones of them into answers.
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
// that of the second. [Successor] and [AppendBitmap] are the two parts of an
// NSEC record.
//
// Names and records are in wire form (RFC 1035 section 3.1) wherever bytes are
// passed, and in presentation form with a final dot wherever strings are.
//
// The package reads no files, opens no sockets and logs nothing.
package smimea
