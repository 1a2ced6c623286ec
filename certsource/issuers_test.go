package certsource

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"coredns-smimea/internal/testcert"
)

// TestChain holds which certificates lead upwards, whether they stand in the file or
// beside it, and where one is missing.
func TestChain(t *testing.T) {
	authority := func(name string, parent *testcert.Authority) *testcert.Authority {
		a, err := testcert.NewAuthority(name, parent)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	root := authority("Root", nil)
	upper := authority("Upper", root)
	lower := authority("Lower", upper)
	impostor := authority("Lower", upper) // of the same name, with another key
	leaf, err := testcert.Template{Addresses: []string{"a@example.com"}, Issuer: lower}.DER()
	if err != nil {
		t.Fatal(err)
	}
	r, u, l, i := root.Certificate, upper.Certificate, lower.Certificate, impostor.Certificate
	for name, tt := range map[string]struct {
		file, pool, roots [][]byte // the file beside the leaf
		chain             [][]byte
		missing           []byte
	}{
		"nothing":              {nil, nil, nil, nil, leaf},
		"all in the file":      {[][]byte{u, i, l}, nil, [][]byte{r}, [][]byte{l, u}, nil},
		"root in the file":     {[][]byte{r, u, l}, nil, nil, [][]byte{l, u}, nil},
		"root is not known":    {[][]byte{l, u}, nil, nil, [][]byte{l, u}, u},
		"all beside":           {nil, [][]byte{i, u, l}, [][]byte{r}, [][]byte{l, u}, nil},
		"one beside":           {[][]byte{l}, [][]byte{u, l}, [][]byte{r}, [][]byte{l, u}, nil},
		"the upper is missing": {[][]byte{l}, nil, [][]byte{r}, [][]byte{l}, l},
		"the lower is missing": {[][]byte{u}, [][]byte{i}, [][]byte{r}, nil, leaf},
		"trusted intermediate": {nil, nil, [][]byte{l}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := Parse(testcert.PEM(append([][]byte{leaf}, tt.file...)...))
			if err != nil {
				t.Fatal(err)
			}
			var pool Issuers
			pool.Read(testcert.PEM(tt.pool...))
			roots := new(Roots)
			roots.Read(testcert.PEM(tt.roots...))
			if chain := cert.Chain(&pool); !slices.EqualFunc(chain, tt.chain, bytes.Equal) {
				t.Errorf("a chain of %d, want %d", len(chain), len(tt.chain))
			}
			var missing []byte
			if top := cert.Missing(&pool, roots); top != nil {
				missing = top.Raw
			}
			if !bytes.Equal(missing, tt.missing) {
				t.Errorf("missing above %x, want %x", missing, tt.missing)
			}
		})
	}
	var pool Issuers
	used, unused := pool.Read(append(testcert.PEM(r, leaf, l), testcert.PEM(u)...))
	if said := Unuseds(unused); used != 2 || len(unused) != 2 || !strings.Contains(said, "a root") || !strings.Contains(said, "no authority") {
		t.Errorf("%d used, unused: %s", used, said)
	}
}
