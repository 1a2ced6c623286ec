package measure

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// folders is how many directories the files of users lie in.
const folders = 1000

// Users are the certificates of N users, one file each, and a zone file with the
// same records.
type Users struct {
	N   int
	Dir string // of the certificates
	// Zone is a zone file with what is published for them: an SMIMEA 3 1 1 and
	// a TXT record each.
	Zone string
}

// Local returns user i's local-part, which is like a name.
func Local(i int) string { return fmt.Sprintf("first%d.last%d", i%folders, i/folders) }

// Address returns user i's address.
func Address(i int) smimea.Address { return smimea.Address{Local: Local(i), Domain: Domain} }

// Path returns the path of user i's file below the directory.
func Path(i int) string {
	return fmt.Sprintf("d%03d/first%d.last%d.pem", i/folders%folders, i%folders, i/folders)
}

// maxAge is how long made certificates are used: less than they are valid.
const maxAge = 200 * 24 * time.Hour

// MakeUsers makes n users with keys of a kind, or takes those of an earlier run.
func MakeUsers(n int, key testcert.Key, say func(format string, args ...any)) (*Users, error) {
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	kind := map[testcert.Key]string{testcert.P256: "p256", testcert.RSA2048: "rsa2048"}[key]
	base := filepath.Join(cache, fmt.Sprintf("%d-%s", n, kind))
	u := &Users{N: n, Dir: filepath.Join(base, "certs"), Zone: filepath.Join(base, "db."+Domain)}
	if info, err := os.Stat(u.Zone); err == nil && time.Since(info.ModTime()) < maxAge {
		return u, nil
	}
	say("making %d certificates (%s), once, in %s", n, kind, base)
	// Made elsewhere and then moved: what has its name is whole.
	if err := os.RemoveAll(base); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := makeFiles(temp, n, key); err != nil {
		return nil, fmt.Errorf("making users: %w", err)
	}
	return u, os.Rename(temp, base)
}

func makeFiles(base string, n int, key testcert.Key) error {
	for i := 0; i < min(n, folders*folders); i += folders {
		if err := os.MkdirAll(filepath.Join(base, "certs", filepath.Dir(Path(i))), 0o755); err != nil {
			return err
		}
	}
	records := make([][sha256.Size]byte, n)
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[w] == nil; i = int(next.Add(1)) - 1 {
				records[i], errs[w] = writeUser(filepath.Join(base, "certs", Path(i)), i, key)
			}
		})
	}
	if workers.Wait(); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	return writeZone(filepath.Join(base, "db."+Domain), records)
}

// writeUser makes a certificate for user i, and returns the digest of its key.
func writeUser(path string, i int, key testcert.Key) (sum [sha256.Size]byte, err error) {
	der, err := Template(i, key).DER()
	if err != nil {
		return sum, err
	}
	cert, err := certsource.Parse(der)
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(cert.SPKI), os.WriteFile(path, testcert.PEM(der), 0o644)
}

// Template returns what user i's certificate is like. They end at different times.
func Template(i int, key testcert.Key) testcert.Template {
	usage := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
	if key == testcert.RSA2048 {
		usage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return testcert.Template{
		CommonName: Local(i),
		Addresses:  []string{Local(i) + "@" + Domain},
		Key:        key,
		NotAfter:   time.Now().AddDate(1, 0, 0).Add(time.Duration(i%folders) * time.Hour),
		KeyUsage:   usage,
		EKU:        []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
}

// Apex is the zone's head in a zone file, with names besides for users of *file*.
const Apex = `$ORIGIN ` + Domain + `.
$TTL 3600
@ IN SOA ns hostmaster 1 3600 900 1209600 300
@ IN NS ns
ns IN A 192.0.2.1
`

// URL is the template of the URLs in the TXT records.
const URL = "https://{domain}/.well-known/smime/{file}"

func writeZone(path string, records [][sha256.Size]byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	w.WriteString(Apex)
	url, err := smimea.ParseURLTemplate(URL)
	for i, sum := range records {
		a := Address(i)
		text, noText := a.TextOwner()
		err = errors.Join(err, noText)
		fmt.Fprintf(w, "%s 3600 IN SMIMEA 3 1 1 %s\n%s 3600 IN TXT \"%s\"\n",
			a.Owner(), hex.EncodeToString(sum[:]), text, url.Expand(Domain, Path(i), a.Label()))
	}
	return errors.Join(err, w.Flush(), f.Close())
}
