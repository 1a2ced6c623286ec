package certsource

import "strings"

// MaxFileSize is the most octets a certificate file may have. A chain of RSA
// certificates has some 10,000; a larger file than this is a mistake, and must
// not cost memory.
const MaxFileSize = 1 << 20

// IsCertificateName reports whether a file of this name, the last element of
// its path, is looked at: it ends in .pem, .crt, .cer, .der, .p7b or .p7c, in
// any case, and does not start with a dot (as temporary files do, and the
// ..data directories of Kubernetes).
func IsCertificateName(name string) bool {
	if len(name) < len("x.pem") || name[0] == '.' {
		return false
	}
	dot := len(name) - len(".pem")
	if name[dot] != '.' {
		return false
	}
	switch strings.ToLower(name[dot+1:]) {
	case "pem", "crt", "cer", "der", "p7b", "p7c":
		return true
	}
	return false
}
