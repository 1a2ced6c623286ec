// Package zone holds the records of a mail domain's users as versions that never
// change, and answers from them.
//
// A [Place] says what does not change about a zone, and an [Index] which of
// several places a name lies in. A [Zone] is one version of the records; an
// [Edit] makes the next one, at the cost of what has changed. [Zone.Lookup] says
// what a name has, a [Reply] makes a message of it, and [Name.AppendAnswer] its
// octets at once. A [Journal] leads from older versions to the newest (RFC 1995).
// A [Transferable] is a version as secondaries get it; a [SignedZone] makes those with
// signatures and NSEC3 records, for secondaries that cannot sign.
//
// Names and records are in wire form (RFC 1035 section 3.1) wherever bytes are
// passed, and in presentation form with a final dot wherever strings are.
//
// The package reads no files, opens no sockets and logs nothing.
package zone
