package ldap

import "strings"

// An attributeType is one of the attribute types that the server knows. What an
// assertion says about any other is Undefined (RFC 4511 section 4.5.1.7).
type attributeType struct {
	names  []string // the first is how it is returned
	oid    string
	binary bool // its values are transferred with ;binary (RFC 4522)
	// operational: not returned unless it is asked for by name or by "+".
	operational bool
	// definition is what follows the names in the subschema (RFC 4512 section 4.1.2).
	definition string
}

const (
	caseIgnore = "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
	ia5        = "EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.26"
	oidSyntax  = "EQUALITY objectIdentifierMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.38"
	dnSyntax   = "EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12"
)

// attributeTypes are those of the entries and of the root DSE, and those that
// address books ask for beside them (RFC 4519, RFC 2798, RFC 4524, RFC 4523).
var attributeTypes = []*attributeType{
	{names: []string{"objectClass"}, oid: "2.5.4.0", definition: oidSyntax},
	{names: []string{"cn", "commonName"}, oid: "2.5.4.3", definition: caseIgnore},
	{names: []string{"sn", "surname"}, oid: "2.5.4.4", definition: caseIgnore},
	{names: []string{"givenName", "gn"}, oid: "2.5.4.42", definition: caseIgnore},
	{names: []string{"displayName"}, oid: "2.16.840.1.113730.3.1.241", definition: caseIgnore},
	{names: []string{"mail", "rfc822Mailbox"}, oid: "0.9.2342.19200300.100.1.3", definition: ia5},
	{names: []string{"uid", "userid"}, oid: "0.9.2342.19200300.100.1.1", definition: caseIgnore},
	{names: []string{"o", "organizationName"}, oid: "2.5.4.10", definition: caseIgnore},
	{names: []string{"ou", "organizationalUnitName"}, oid: "2.5.4.11", definition: caseIgnore},
	{names: []string{"title"}, oid: "2.5.4.12", definition: caseIgnore},
	{names: []string{"description"}, oid: "2.5.4.13", definition: caseIgnore},
	{names: []string{"telephoneNumber"}, oid: "2.5.4.20", definition: "EQUALITY telephoneNumberMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.50"},
	{names: []string{"userCertificate"}, oid: "2.5.4.36", binary: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.8"},
	{names: []string{"userSMIMECertificate"}, oid: "2.16.840.1.113730.3.1.40", binary: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.5"},

	{names: []string{"namingContexts"}, oid: "1.3.6.1.4.1.1466.101.120.5", operational: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 USAGE dSAOperation"},
	{names: []string{"supportedLDAPVersion"}, oid: "1.3.6.1.4.1.1466.101.120.15", operational: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 USAGE dSAOperation"},
	{names: []string{"supportedExtension"}, oid: "1.3.6.1.4.1.1466.101.120.7", operational: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.38 USAGE dSAOperation"},
	{names: []string{"supportedControl"}, oid: "1.3.6.1.4.1.1466.101.120.13", operational: true, definition: "SYNTAX 1.3.6.1.4.1.1466.115.121.1.38 USAGE dSAOperation"},
	{names: []string{"supportedFeatures"}, oid: "1.3.6.1.4.1.4203.1.3.5", operational: true, definition: "EQUALITY objectIdentifierMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.38 USAGE dSAOperation"},
	{names: []string{"subschemaSubentry"}, oid: "2.5.18.10", operational: true, definition: dnSyntax + " SINGLE-VALUE NO-USER-MODIFICATION USAGE directoryOperation"},
	{names: []string{"attributeTypes"}, oid: "2.5.21.5", operational: true, definition: "EQUALITY objectIdentifierFirstComponentMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.3 USAGE directoryOperation"},
	{names: []string{"objectClasses"}, oid: "2.5.21.6", operational: true, definition: "EQUALITY objectIdentifierFirstComponentMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.37 USAGE directoryOperation"},
}

// objectClasses are those of the entries (RFC 4512 section 4.1.1), each with
// the names that an assertion may call it by.
var objectClasses = []struct {
	name, oid, definition string
}{
	{"top", "2.5.6.0", "ABSTRACT MUST objectClass"},
	{"person", "2.5.6.6", "SUP top STRUCTURAL MUST ( sn $ cn ) MAY ( telephoneNumber $ description )"},
	{"organizationalPerson", "2.5.6.7", "SUP person STRUCTURAL MAY ( title $ ou )"},
	{"inetOrgPerson", "2.16.840.1.113730.3.2.2", "SUP organizationalPerson STRUCTURAL MAY ( displayName $ givenName $ mail $ o $ uid $ userCertificate $ userSMIMECertificate )"},
	{"subentry", "2.5.17.0", "SUP top STRUCTURAL MUST cn"},
	{"subschema", "2.5.20.1", "AUXILIARY MAY ( attributeTypes $ objectClasses )"},
}

var (
	typesByName   = map[string]*attributeType{}
	classesByName = map[string]string{} // the name, lower-cased, by name and OID
)

func init() {
	for _, t := range attributeTypes {
		typesByName[t.oid] = t
		for _, name := range t.names {
			typesByName[strings.ToLower(name)] = t
		}
	}
	for _, c := range objectClasses {
		lower := strings.ToLower(c.name)
		classesByName[c.oid], classesByName[lower] = lower, lower
	}
}

// A description is an attribute description (RFC 4512 section 2.5): a type, and
// whether ;binary is asked for.
type description struct {
	*attributeType
	text   string // as it was written
	binary bool
}

// describe reads an attribute description. It is not ok if the type, or an
// option, is not known.
func describe(text string) (d description, ok bool) {
	name, options, has := strings.Cut(text, ";")
	d = description{attributeType: typesByName[strings.ToLower(name)], text: text}
	if d.attributeType == nil {
		return d, false
	}
	if has {
		d.binary = strings.EqualFold(options, "binary")
		if !d.binary || !d.attributeType.binary {
			return d, false
		}
	}
	return d, true
}

// returned is the name under which a value goes out: as it was asked for, and
// always with ;binary where the syntax needs it (RFC 4522 section 3).
func (d description) returned() string {
	if d.attributeType.binary && !d.binary {
		return d.text + ";binary"
	}
	return d.text
}

// wholeName is the name of an attribute that was not asked for by name.
func (t *attributeType) wholeName() string {
	if t.binary {
		return t.names[0] + ";binary"
	}
	return t.names[0]
}
