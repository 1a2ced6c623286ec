package measure

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// seed makes all runs ask the same.
const seed = 8162

// Queries writes files of questions in dnsperf's form.
type Queries struct{ Dir string }

func (q Queries) write(name string, n int, line func(r *rand.Rand, i int) string) (string, error) {
	path := filepath.Join(q.Dir, name)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	w := bufio.NewWriterSize(f, 1<<20)
	for i := range n {
		fmt.Fprintln(w, line(r, i))
	}
	return path, errors.Join(w.Flush(), f.Close())
}

// SMIMEA asks for certificates of users, uniformly at random.
func (q Queries) SMIMEA(users, n int) (string, error) {
	return q.write("smimea", n, func(r *rand.Rand, _ int) string { return Address(r.IntN(users)).Owner() + " SMIMEA" })
}

// TXT asks for the URLs of users, uniformly at random.
func (q Queries) TXT(users, n int) (string, error) {
	return q.write("txt", n, func(r *rand.Rand, _ int) string {
		owner, err := Address(r.IntN(users)).TextOwner()
		if err != nil {
			panic(err) // all users have one
		}
		return owner + " TXT"
	})
}

// Once asks for the certificate of each user once, in random order.
func (q Queries) Once(users int) (string, error) {
	order := rand.New(rand.NewPCG(seed, 1)).Perm(users)
	return q.write("once", users, func(_ *rand.Rand, i int) string { return Address(order[i]).Owner() + " SMIMEA" })
}

// Absent asks for certificates of nobody, each another.
func (q Queries) Absent(n int) (string, error) {
	return q.write("absent", n, func(r *rand.Rand, _ int) string {
		return fmt.Sprintf("%016x%016x%016x%08x._smimecert.%s. SMIMEA", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint32(), Domain)
	})
}

// A asks for the addresses of hosts, for a server that has them or does not care.
func (q Queries) A(users, n int) (string, error) {
	return q.write("a", n, func(r *rand.Rand, _ int) string { return Address(r.IntN(users)).Owner() + " A" })
}

// Hosts asks for the addresses of the hosts that [WriteHosts] writes.
func (q Queries) Hosts(hosts, n int) (string, error) {
	return q.write("hosts", n, func(r *rand.Rand, _ int) string {
		return fmt.Sprintf("host%d.%s. A", r.IntN(hosts), Domain)
	})
}

// WriteHosts writes a zone file with hosts, for *file* alone and beside us.
func WriteHosts(path string, hosts int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	w.WriteString(Apex)
	for i := range hosts {
		fmt.Fprintf(w, "host%d IN A 192.0.2.%d\n", i, i%256)
	}
	return errors.Join(w.Flush(), f.Close())
}
