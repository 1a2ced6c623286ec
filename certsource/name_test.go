package certsource

import "testing"

func TestIsCertificateName(t *testing.T) {
	for name, want := range map[string]bool{
		"alice.pem": true, "alice.crt": true, "alice.cer": true, "alice.der": true, "alice.p7b": true, "alice.p7c": true,
		"ALICE.PEM": true, "alice.example.com.Crt": true, "ä.pem": true,
		".alice.pem": false, "..data": false, ".pem": false, "pem": false, "": false, "a.pem~": false,
		"alice.key": false, "alice.p12": false, "alice.pem.swp": false, "alicepem": false, "alice.pem.tmp": false,
	} {
		if got := IsCertificateName(name); got != want {
			t.Errorf("IsCertificateName(%q) = %v", name, got)
		}
	}
}
