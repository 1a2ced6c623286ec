// Package certhost is the HTTPS host that gives out users' certificates below
// /.well-known/smime/. It knows net/http and certmagic, and nothing of DNS,
// CoreDNS or where the certificates come from: those it sees through [Files].
//
// A listener belongs to the process, not to one reading of the Corefile. Who
// wants to serve on an address calls [Acquire], gets a [Lease], and makes its
// mail domains visible with [Lease.Publish]; the listener opens with the first
// lease of an address and closes with the last [Lease.Release]. So a reload is
// acquire, publish (new), release (old), and no connection is lost in between:
//
//	lease, err := certhost.Acquire(config) // opens the socket, checks files; changes nothing for clients
//	lease.Publish(files)                   // from here on requests see files; again for every snapshot
//	lease.Release()                        // the leases that remain take over
//
// Where two published leases name the same domain, the one acquired last
// serves it. A reload that fails half-way may have leases that nobody will
// release; [ReleaseOthers] is for the instance that stays.
//
// TLS is one of: a configuration handed over, a pair of files re-read when they
// change, or ACME by certmagic (TLS-ALPN-01 on the very same listener, or
// DNS-01 through [Challenges]). Leases that share an address may differ in it:
// the name in the handshake (SNI) decides whose certificate is shown. What they
// may not do is mix TLS and plain HTTP.
package certhost
