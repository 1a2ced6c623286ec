package main

import (
	"flag"
	"fmt"

	"coredns-smimea/smimea"
)

var ownerVerb = verb{
	name:     "owner",
	synopsis: "ADDRESS...",
	summary:  "the names under which an address's records are looked for",
	help: `
Prints the two DNS names that belong to a mail address: of its SMIMEA records
(RFC 8162: the first 28 octets of the local-part's SHA-256, in hexadecimal), and
of its TXT records, which hold a URL. Not every local-part can have the latter.
The local-part counts as it is written: Hugh and hugh have different SMIMEA names.

  smimea owner hugh@example.com
  smimea owner '"john doe"@example.com'
`,
	setup: func(*flag.FlagSet) action { return owner },
}

type ownerJSON struct {
	Schema string      `json:"schema"` // smimea-owner/1
	Owners []ownerLine `json:"owners"`
}

type ownerLine struct {
	Address string `json:"address"`
	SMIMEA  string `json:"smimea"`
	TXT     string `json:"txt,omitempty"`
	NoTXT   string `json:"no_txt,omitempty"` // why there is none
}

func owner(u *ui, operands []string) (exit, error) {
	if len(operands) == 0 {
		return 0, usageError("an address is missing")
	}
	result := ownerJSON{Schema: "smimea-owner/1"}
	for _, operand := range operands {
		a, err := smimea.ParseAddress(operand)
		if err != nil {
			return 0, fail(exitUsage, fmt.Errorf("reading %q: %w", operand, err))
		}
		line := ownerLine{Address: a.String(), SMIMEA: a.Owner()}
		if line.TXT, err = a.TextOwner(); err != nil {
			line.NoTXT = err.Error()
		}
		result.Owners = append(result.Owners, line)
	}
	if u.json {
		return exitOK, u.emit(result)
	}
	for _, line := range result.Owners {
		if len(result.Owners) > 1 {
			u.print("%s\n", u.paint(bold, printable(line.Address)))
		}
		u.print("SMIMEA\t%s\n", printable(line.SMIMEA))
		if line.NoTXT == "" {
			u.print("TXT\t%s\n", printable(line.TXT))
		} else {
			u.warn("%s: %s", line.Address, line.NoTXT)
		}
	}
	return exitOK, nil
}
