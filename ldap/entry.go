package ldap

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"

	"coredns-smimea/internal/pkcs7"
)

// An entry is one object that a search can return.
type entry struct {
	dn         string
	attributes []attribute
}

type attribute struct {
	*attributeType
	values []string
}

func (e *entry) add(name string, values ...string) {
	e.attributes = append(e.attributes, attribute{typesByName[strings.ToLower(name)], values})
}

// values returns the values of an attribute type, none if it is not there.
func (e *entry) values(t *attributeType) []string {
	for _, a := range e.attributes {
		if a.attributeType == t {
			return a.values
		}
	}
	return nil
}

// certificateEntry makes the inetOrgPerson (RFC 2798) of one certificate, with
// the address as it was asked for. Clients take intermediates from the further
// values of userCertificate.
func certificateEntry(base, mail string, c Certificate) (*entry, error) {
	all := append([][]byte{c.Raw}, c.Chain...)
	bundle, err := pkcs7.CertsOnly(all)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(c.Raw)
	uid := hex.EncodeToString(digest[:])
	cn, sn := names(c.Raw, mail)
	e := &entry{dn: "uid=" + uid + ",mail=" + escapeDN(mail)}
	if base != "" {
		e.dn += "," + base
	}
	e.add("objectClass", "top", "person", "organizationalPerson", "inetOrgPerson")
	e.add("cn", cn)
	e.add("sn", sn)
	e.add("mail", mail)
	e.add("uid", uid)
	var values []string
	for _, der := range all {
		values = append(values, string(der))
	}
	e.add("userCertificate", values...)
	e.add("userSMIMECertificate", string(bundle))
	return e, nil
}

// names returns the common name and surname of a certificate's subject. Both
// must be there (RFC 4519 section 3.12); the address stands in for them.
func names(der []byte, mail string) (cn, sn string) {
	cn = mail
	if cert, err := x509.ParseCertificate(der); err == nil {
		if isText(cert.Subject.CommonName) {
			cn = cert.Subject.CommonName
		}
		for _, a := range cert.Subject.Names {
			if text, ok := a.Value.(string); ok && a.Type.String() == "2.5.4.4" && isText(text) {
				return cn, text
			}
		}
	}
	words := strings.Fields(cn)
	return cn, words[len(words)-1]
}

// isText reports whether a name can be shown: it is the certificate's, and so
// whoever's who wrote that.
func isText(s string) bool {
	return strings.TrimSpace(s) != "" && len(s) <= 256 && strings.IndexFunc(s, func(r rune) bool {
		return r == unicode.ReplacementChar || unicode.IsControl(r)
	}) < 0
}

const (
	oidStartTLS      = "1.3.6.1.4.1.1466.20037"
	oidDisconnection = "1.3.6.1.4.1.1466.20036"
	oidPaged         = "1.2.840.113556.1.4.319"
	oidManageDsaIT   = "2.16.840.1.113730.3.4.2"
	oidAllOps        = "1.3.6.1.4.1.4203.1.5.1" // RFC 3673
	oidTrueFalse     = "1.3.6.1.4.1.4203.1.5.3" // RFC 4526
	subschemaDN      = "cn=Subschema"
)

// rootDSE is what the server says of itself (RFC 4512 section 5.1).
func (s *Server) rootDSE() *entry {
	e := &entry{}
	e.add("objectClass", "top")
	e.add("namingContexts", s.Base)
	e.add("subschemaSubentry", subschemaDN)
	e.add("supportedLDAPVersion", "3")
	e.add("supportedControl", oidPaged, oidManageDsaIT)
	if s.TLS != nil {
		e.add("supportedExtension", oidStartTLS)
	}
	e.add("supportedFeatures", oidAllOps, oidTrueFalse)
	return e
}

// subschema is the subschema of all entries (RFC 4512 section 4.2).
func subschema() *entry {
	e := &entry{dn: subschemaDN}
	e.add("objectClass", "top", "subentry", "subschema")
	e.add("cn", "Subschema")
	var types, classes []string
	for _, t := range attributeTypes {
		name := "'" + t.names[0] + "'"
		if len(t.names) > 1 {
			name = "( '" + strings.Join(t.names, "' '") + "' )"
		}
		types = append(types, "( "+t.oid+" NAME "+name+" "+t.definition+" )")
	}
	for _, c := range objectClasses {
		classes = append(classes, "( "+c.oid+" NAME '"+c.name+"' "+c.definition+" )")
	}
	e.add("attributeTypes", types...)
	e.add("objectClasses", classes...)
	return e
}

// A selection is the attributes that a search asks for (RFC 4511 section
// 4.5.1.8).
type selection struct {
	named            []description
	user, operations bool // all of either kind
	typesOnly        bool
}

func selectAttributes(names []string, typesOnly bool) selection {
	s := selection{user: len(names) == 0, typesOnly: typesOnly}
	for _, name := range names {
		switch d, ok := describe(name); {
		case name == "*":
			s.user = true
		case name == "+":
			s.operations = true
		case ok && !slices.ContainsFunc(s.named, func(o description) bool { return o.attributeType == d.attributeType }):
			s.named = append(s.named, d)
		}
	}
	return s
}

// of passes on what a search wants of an entry, by the names to return it as.
func (s *selection) of(e *entry, found func(name string, values []string)) {
	done := map[*attributeType]bool{}
	for _, d := range s.named {
		if values := e.values(d.attributeType); len(values) > 0 {
			done[d.attributeType] = true
			found(d.returned(), s.valuesOf(values))
		}
	}
	for _, a := range e.attributes {
		if done[a.attributeType] || a.operational && !s.operations || !a.operational && !s.user {
			continue
		}
		found(a.wholeName(), s.valuesOf(a.values))
	}
}

func (s *selection) valuesOf(values []string) []string {
	if s.typesOnly {
		return nil
	}
	return values
}
