package ldap

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"coredns-smimea/internal/pkcs7"
)

// TestClients asks as mail programs do.
func TestClients(t *testing.T) {
	s := newServer(t)
	c := dial(t, serve(t, s))
	shelf := s.Source.(*shelf)
	hugh := shelf.found["hugh@example.com"].Certificates[0]
	bundle, err := pkcs7.CertsOnly([][]byte{hugh.Raw, hugh.Chain[0]})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		client, filter string
		attributes     []string
		want           string // mail of the entries
	}{
		{"Thunderbird", "(mail=hugh@example.com)", []string{"usercertificate;binary"}, "hugh@example.com"},
		{"Thunderbird, several", "(|(mail=hugh@example.com)(mail=nobody@example.com))", []string{"usercertificate;binary"}, "hugh@example.com"},
		{"Thunderbird, several", "(|(mail=two@example.com)(mail=hugh@example.com))", []string{"usercertificate;binary"}, "two@example.com hugh@example.com two@example.com"},
		{"Thunderbird, its URL's filter", "(&(objectclass=*)(mail=hugh@example.com))", []string{"usercertificate;binary"}, "hugh@example.com"},
		{"Thunderbird, completion", "(|(cn=*hu*)(mail=*hu*)(givenName=*hu*)(sn=*hu*))", nil, ""},
		{"Thunderbird, completion", "(|(cn=*hugh@ex*)(mail=*hugh@ex*)(givenName=*hugh@ex*)(sn=*hugh@ex*))", nil, ""},
		{"dirmngr, <address>", "(mail=hugh@example.com)", nil, "hugh@example.com"},
		{"dirmngr, address", "(|(sn=*hugh@example.com*)(|(cn=*hugh@example.com*)(mail=*hugh@example.com*)))", nil, "hugh@example.com"},
		{"Evolution", "(&(userCertificate=*)(|(mail=hugh@example.com)))", nil, "hugh@example.com"},
		{"Outlook", "(&(mail=*)(|(mail=hugh@example.com*)(|(cn=hugh@example.com*)(|(sn=hugh@example.com*)(givenName=hugh@example.com*)))))", []string{"userSMIMECertificate", "userCertificate"}, "hugh@example.com"},
		{"another case", "(mail=Hugh@Example.COM)", nil, ""},
		{"domain in another case", "(mail=hugh@EXAMPLE.com)", nil, "hugh@EXAMPLE.com"},
		{"by number", "(0.9.2342.19200300.100.1.3=hugh@example.com)", []string{"2.5.4.36"}, "hugh@example.com"},
		{"extensible", "(mail:caseIgnoreIA5Match:=hugh@example.com)", nil, "hugh@example.com"},
		{"everybody", "(mail=*)", nil, ""},
		{"everything", "(objectClass=*)", nil, ""},
		{"not", "(!(mail=hugh@example.com))", nil, ""},
		{"and not", "(&(mail=hugh@example.com)(!(cn=Hugh*)))", nil, ""},
		{"and undefined", "(&(mail=hugh@example.com)(shoeSize=42))", nil, ""},
		{"or undefined", "(|(mail=hugh@example.com)(shoeSize=42))", nil, "hugh@example.com"},
		{"and not undefined", "(&(mail=hugh@example.com)(!(shoeSize=42)))", nil, ""},
	} {
		t.Run(test.client+" "+test.filter, func(t *testing.T) {
			all := test.attributes
			if all != nil {
				all = append(slices.Clone(all), "mail")
			}
			r, err := c.Search(asking(test.filter, all...))
			if err != nil {
				t.Fatal(err)
			}
			if got := entriesOf(r); got != test.want {
				t.Fatalf("entries %q; want %q", got, test.want)
			}
			for _, e := range r.Entries {
				if !strings.HasSuffix(e.DN, ",dc=example,dc=com") {
					t.Errorf("the entry %q is not below the base", e.DN)
				}
				for _, name := range test.attributes {
					if e.Attributes == nil || len(e.GetRawAttributeValues(strings.TrimSuffix(name, ";binary")+";binary")) == 0 {
						t.Errorf("no %s, with ;binary, in %v", name, e.Attributes)
					}
				}
			}
		})
	}
	r, err := c.Search(asking("(mail=hugh@example.com)"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(hugh.Raw)
	e := r.Entries[0]
	for name, want := range map[string][]string{
		"objectClass": {"top", "person", "organizationalPerson", "inetOrgPerson"},
		"cn":          {"Hugh E. User"}, "sn": {"User"}, "mail": {"hugh@example.com"}, "uid": {hex.EncodeToString(digest[:])},
		"userCertificate;binary":      {string(hugh.Raw), string(hugh.Chain[0])},
		"userSMIMECertificate;binary": {string(bundle)},
	} {
		if got := e.GetAttributeValues(name); !slices.Equal(got, want) {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	again := asking("(objectClass=*)", "1.1")
	again.BaseDN, again.Scope = e.DN, goldap.ScopeBaseObject
	if r, err = c.Search(again); err != nil || len(r.Entries) != 1 || r.Entries[0].DN != e.DN || len(r.Entries[0].Attributes) != 0 {
		t.Errorf("the entry by its name: %v, %v", r, err)
	}
}

// TestFailures holds that what fails is never an empty success.
func TestFailures(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.failed["down@example.com"] = errors.New("the server is down")
	shelf.failed["much@example.com"] = ErrBusy
	s.Limits = Limits{Answer: 5 * shortly, Addresses: 3, Entries: 2}
	c := dial(t, serve(t, s))
	for _, test := range []struct {
		filter           string
		size, time       int
		want             code
		entries, message string
	}{
		{"(mail=down@example.com)", 0, 0, unavailable, "", "the server is down"},
		{"(|(mail=hugh@example.com)(mail=down@example.com))", 0, 0, unavailable, "hugh@example.com", "the server is down"},
		{"(mail=much@example.com)", 0, 0, busy, "", ErrBusy.Error()},
		{"(|(mail=much@example.com)(mail=down@example.com))", 0, 0, unavailable, "", "the server is down"},
		{"(mail=x@slow.test)", 0, 0, busy, "", "the look-up takes longer; it goes on, ask again"},
		{"(|(mail=x@slow.test)(mail=hugh@example.com))", 0, 0, busy, "hugh@example.com", "the look-up takes longer; it goes on, ask again"},
		{"(mail=nobody@example.com)", 0, 0, success, "", "the domain says that there is none"},
		{"(mail=two@example.com)", 1, 0, sizeLimitExceeded, "two@example.com", ""},
		{"(|(mail=two@example.com)(mail=hugh@example.com))", 0, 0, sizeLimitExceeded, "two@example.com hugh@example.com", ""},
		{"(|(mail=a@example.com)(mail=hugh@example.com)(mail=c@example.com)(mail=d@example.com))", 0, 0, adminLimitExceeded, "hugh@example.com", "only some of so many addresses are looked up"},
	} {
		r, err := c.Search(goldap.NewSearchRequest("", goldap.ScopeWholeSubtree, 0, test.size, test.time, false, test.filter, []string{"mail"}, nil))
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v; want %d", test.filter, err, test.want)
		}
		if got := entriesOf(r); got != test.entries {
			t.Errorf("%s: entries %q; want %q", test.filter, got, test.entries)
		}
		if err != nil && test.message != "" && !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v; want %q", test.filter, err, test.message)
		}
	}
}

// TestTimeLimit has the client's own limit be the shorter one.
func TestTimeLimit(t *testing.T) {
	s := newServer(t)
	c := dial(t, serve(t, s))
	r := asking("(mail=x@slow.test)")
	r.TimeLimit = 1
	if _, err := c.Search(r); codeOf(t, err) != timeLimitExceeded {
		t.Errorf("%v; want %d", err, timeLimitExceeded)
	}
}

// TestRoot reads what the server says of itself.
func TestRoot(t *testing.T) {
	s := newServer(t)
	s.TLS, _ = tlsPair(t)
	c := dial(t, serve(t, s))
	for _, attributes := range [][]string{nil, {"*", "+"}, {"+"}, {"namingContexts", "supportedldapversion", "supportedControl", "supportedExtension", "subschemaSubentry"}} {
		r := goldap.NewSearchRequest("", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", attributes, nil)
		found, err := c.Search(r)
		if err != nil || len(found.Entries) != 1 {
			t.Fatalf("%v: %v", attributes, err)
		}
		e := found.Entries[0]
		for name, want := range map[string]string{"namingContexts": "o=smimea", "supportedLDAPVersion": "3", "supportedExtension": oidStartTLS, "supportedControl": oidPaged, "subschemaSubentry": "cn=Subschema"} {
			if got := e.GetEqualFoldAttributeValue(name); got != want {
				t.Errorf("%v: %s is %q; want %q", attributes, name, got, want)
			}
		}
	}
	r := goldap.NewSearchRequest("cn=subschema", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=subschema)", []string{"attributeTypes", "objectClasses"}, nil)
	found, err := c.Search(r)
	if err != nil || len(found.Entries) != 1 {
		t.Fatal(err)
	}
	if types := strings.Join(found.Entries[0].GetAttributeValues("attributeTypes"), "\n"); !strings.Contains(types, "( 0.9.2342.19200300.100.1.3 NAME ( 'mail' 'rfc822Mailbox' ) EQUALITY caseIgnoreIA5Match") {
		t.Errorf("no mail in\n%s", types)
	}
}

// TestBind holds who may bind: nobody but the anonymous.
func TestBind(t *testing.T) {
	c := dial(t, serve(t, newServer(t)))
	for _, test := range []struct {
		name, password string
		want           code
	}{
		{"", "", success}, {"cn=admin", "secret", invalidCredentials}, {"", "secret", invalidCredentials}, {"cn=admin", "", unwillingToPerform},
	} {
		_, err := c.SimpleBind(&goldap.SimpleBindRequest{Username: test.name, Password: test.password, AllowEmptyPassword: true})
		if codeOf(t, err) != test.want {
			t.Errorf("binding as %q: %v; want %d", test.name, err, test.want)
		}
	}
	if err := c.ExternalBind(); codeOf(t, err) != authMethodNotSupported {
		t.Errorf("a SASL bind: %v", err)
	}
	w := dialWire(t, serve(t, newServer(t)))
	w.send([]byte{0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 2, 4, 0, 0x80, 0})
	if _, op, r := w.answer(); op != opBound || r.code != protocolError {
		t.Errorf("a bind of version 2: %#x %v", op, r)
	}
}

// TestReadOnly holds that nothing can be written, and what controls do.
func TestReadOnly(t *testing.T) {
	c := dial(t, serve(t, newServer(t)))
	add := goldap.NewAddRequest("cn=x", nil)
	add.Attribute("cn", []string{"x"})
	modify := goldap.NewModifyRequest("cn=x", nil)
	modify.Add("cn", []string{"y"})
	_, compareErr := c.Compare("cn=x", "cn", "x")
	for what, err := range map[string]error{
		"add": c.Add(add), "modify": c.Modify(modify), "delete": c.Del(goldap.NewDelRequest("cn=x", nil)),
		"modify DN": c.ModifyDN(goldap.NewModifyDNRequest("cn=x", "cn=y", true, "")), "compare": compareErr,
	} {
		if codeOf(t, err) != unwillingToPerform {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.WhoAmI(nil); codeOf(t, err) != protocolError {
		t.Errorf("an unknown extended operation: %v", err)
	}
	r := asking("(mail=hugh@example.com)")
	r.Controls = []goldap.Control{goldap.NewControlString("1.2.3.4", true, "")}
	if _, err := c.Search(r); codeOf(t, err) != unavailableCritical {
		t.Errorf("an unknown critical control: %v", err)
	}
	r.Controls = []goldap.Control{goldap.NewControlString("1.2.3.4", false, "")}
	if found, err := c.Search(r); err != nil || len(found.Entries) != 1 {
		t.Errorf("an unknown control that is not critical: %v", err)
	}
	r.Controls = []goldap.Control{goldap.NewControlManageDsaIT(true)}
	if found, err := c.Search(r); err != nil || len(found.Entries) != 1 {
		t.Errorf("ManageDsaIT: %v", err)
	}
	for _, size := range []uint32{1, 100} {
		found, err := c.SearchWithPaging(asking("(mail=two@example.com)"), size)
		if err != nil || len(found.Entries) != 2 {
			t.Errorf("pages of %d: %v, %v", size, found, err)
		}
	}
}

// TestNames holds how attributes are asked for and returned.
func TestNames(t *testing.T) {
	c := dial(t, serve(t, newServer(t)))
	for asked, want := range map[string]string{
		"usercertificate;binary": "usercertificate;binary", "userCertificate": "userCertificate;binary", "USERCERTIFICATE;BINARY": "USERCERTIFICATE;BINARY",
		"userSMIMECertificate;binary": "userSMIMECertificate;binary", "2.5.4.36": "2.5.4.36;binary", "MAIL": "MAIL", "rfc822mailbox": "rfc822mailbox",
		"1.1": "", "userCertificate;lang-en": "", "mail;binary": "", "shoeSize": "", "+": "",
	} {
		r := asking("(mail=hugh@example.com)", asked)
		found, err := c.Search(r)
		if err != nil || len(found.Entries) != 1 {
			t.Fatalf("%s: %v", asked, err)
		}
		var got []string
		for _, a := range found.Entries[0].Attributes {
			got = append(got, a.Name)
			if len(a.ByteValues) == 0 || len(a.ByteValues[0]) == 0 {
				t.Errorf("%s has no value", a.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("asked for %s: %q; want %q", asked, got, want)
		}
		r.TypesOnly = true
		found, err = c.Search(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range found.Entries[0].Attributes {
			if len(a.ByteValues) != 0 {
				t.Errorf("%s has values, and types only were asked for", a.Name)
			}
		}
	}
}
