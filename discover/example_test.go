package discover_test

import (
	"context"
	"fmt"
	"strings"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// nobody is a resolver in whose DNS no name exists, which is signed.
type nobody struct{}

func (nobody) Lookup(_ context.Context, name string, _ uint16) (*dnssec.Answer, error) {
	return &dnssec.Answer{Security: dnssec.Secure, Name: name, NameError: true}, nil
}

func ExampleClient_Lookup() {
	address, err := smimea.ParseAddress("hugh@example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &discover.Client{Resolver: nobody{}}
	result := c.Lookup(context.Background(), address)
	switch result.Verdict {
	case discover.Verified:
		fmt.Println("encrypt to", result.Certificates[0].Addresses)
	case discover.None, discover.Unverified:
		fmt.Println("as the policy says:", result.Why)
	default:
		fmt.Println("do not send, try again:", result.Why)
	}
	// Output: as the policy says: the domain says, signed, that it has no certificate of the address
}

func ExampleClient_Lookup_resolver() {
	// A mail program asks the resolver that its administrator named, and
	// believes the root's keys only.
	server, err := discover.ParseServer("192.0.2.53")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &discover.Client{
		Resolver: &dnssec.Validator{Exchange: server.Exchange, Anchors: dnssec.RootAnchors()},
		Purpose:  discover.Encrypt,
	}
	address, _ := smimea.ParseAddress("hugh@example.com")
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // here: without asking anybody
	fmt.Println(c.Lookup(ctx, address).Verdict)
	// Output: unknown
}

func Example_anchor() {
	// The key of a zone that is not delegated yet, from a file of smimea keygen.
	anchors, err := dnssec.ReadAnchors(strings.NewReader("_smimecert.example.com. IN DS 12345 13 2 " + strings.Repeat("ab", 32)))
	fmt.Println(len(anchors["_smimecert.example.com."]), err)
	// Output: 1 <nil>
}
