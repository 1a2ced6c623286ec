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

// A milter asks for each recipient of a message, and says what is to become of it.
func Example_milter() {
	client := &discover.Client{Resolver: nobody{}, Purpose: discover.Encrypt}
	decide := func(ctx context.Context, recipient string) (action, reason string) {
		address, err := smimea.ParseAddress(recipient)
		if err != nil {
			return "refuse", err.Error()
		}
		switch result := client.Lookup(ctx, address); result.Verdict {
		case discover.Verified:
			return "encrypt", result.Certificates[0].Association // to result.Certificates[0].Raw
		case discover.None, discover.Unverified:
			return "pass on", string(result.Why.Code)
		case discover.Wrong:
			return "refuse", result.Why.Text
		default: // discover.Unknown: never in the clear
			return "defer", result.Why.Text
		}
	}
	fmt.Println(decide(context.Background(), "hugh@example.com"))
	fmt.Println(decide(context.Background(), "hugh"))
	// Output:
	// pass on denied
	// refuse the address has no @
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
