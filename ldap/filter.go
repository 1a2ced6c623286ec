package ldap

import (
	"strings"
	"unicode/utf8"
)

// A truth is a value of the logic of filters (RFC 4511 section 4.5.1.7).
type truth int

const (
	undefined truth = iota
	no
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// The choices of a filter (RFC 4511 section 4.5.1).
const (
	filterAnd            = classContext | constructed
	filterOr             = classContext | constructed | 1
	filterNot            = classContext | constructed | 2
	filterEqual          = classContext | constructed | 3
	filterSubstrings     = classContext | constructed | 4
	filterGreaterOrEqual = classContext | constructed | 5
	filterLessOrEqual    = classContext | constructed | 6
	filterPresent        = classContext | 7
	filterApprox         = classContext | constructed | 8
	filterExtensible     = classContext | constructed | 9
)

// maxDepth is how deep filters may be nested. Those of mail programs are three
// or four deep.
const maxDepth = 64

// A filter is a node of a filter's tree. Requests can be made of little but nodes.
type filter struct {
	kind  byte     // one of the choices
	known bool     // the attribute, and how to match, are known; not of and, or, not
	parts []filter // of and, or, not

	// What follows is of the others.
	attribute  *attributeType
	value      string
	substrings *substrings
}

// substrings are those of an assertion. Each is empty if it is not there.
type substrings struct {
	initial, final string
	any            []string
}

// parseFilter takes a filter off. An assertion that cannot be understood is
// Undefined and no error; what is no filter is.
func parseFilter(b *ber, depth int) (filter, error) {
	if depth > maxDepth {
		return filter{}, errBER
	}
	kind, body, err := b.next()
	if err != nil {
		return filter{}, err
	}
	f := filter{kind: kind}
	switch kind {
	case filterAnd, filterOr:
		for len(body) > 0 {
			part, err := parseFilter(&body, depth+1)
			if err != nil {
				return f, err
			}
			f.parts = append(f.parts, part)
		}
		return f, nil
	case filterNot:
		part, err := parseFilter(&body, depth+1)
		if err != nil || len(body) > 0 {
			return f, errBER
		}
		f.parts = []filter{part}
		return f, nil
	case filterPresent:
		f.describe(string(body))
		return f, nil
	case filterSubstrings:
		return f, f.parseSubstrings(body)
	case filterExtensible:
		return f, f.parseExtensible(body)
	case filterEqual, filterGreaterOrEqual, filterLessOrEqual, filterApprox:
		name, err := body.octets()
		if err != nil {
			return f, err
		}
		if f.value, err = body.octets(); err != nil || len(body) > 0 {
			return f, errBER
		}
		f.describe(name)
		return f, nil
	}
	// RFC 4511 section 4.5.1.7: a choice that is not recognised is Undefined.
	return f, nil
}

// describe notes what attribute a filter is about.
func (f *filter) describe(text string) {
	d, ok := describe(text)
	f.attribute, f.known = d.attributeType, ok
}

func (f *filter) parseSubstrings(body ber) error {
	f.substrings = new(substrings)
	name, err := body.octets()
	if err != nil {
		return err
	}
	f.describe(name)
	parts, err := body.expect(tagSequence)
	if err != nil || len(body) > 0 || len(parts) == 0 {
		return errBER
	}
	for first := true; len(parts) > 0; first = false {
		tag, part, err := parts.next()
		switch {
		case err != nil || len(part) == 0:
			return errBER
		case tag == classContext && first:
			f.substrings.initial = string(part)
		case tag == classContext|1:
			f.substrings.any = append(f.substrings.any, string(part))
		case tag == classContext|2 && len(parts) == 0:
			f.substrings.final = string(part)
		default:
			return errBER
		}
	}
	return nil
}

// parseExtensible reads a MatchingRuleAssertion. Those that say the same as an
// equality become one.
func (f *filter) parseExtensible(body ber) error {
	var rule, name string
	hasValue, dn := false, false
	for len(body) > 0 {
		tag, part, err := body.next()
		switch {
		case err != nil:
			return err
		case tag == classContext|1:
			rule = string(part)
		case tag == classContext|2:
			name = string(part)
		case tag == classContext|3:
			f.value, hasValue = string(part), true
		case tag == classContext|4 && len(part) == 1:
			dn = part[0] != 0
		default:
			return errBER
		}
	}
	if !hasValue || rule == "" && name == "" {
		return errBER
	}
	f.describe(name)
	switch strings.ToLower(rule) {
	case "", "caseignorematch", "2.5.13.2", "caseignoreia5match", "1.3.6.1.4.1.1466.109.114.2":
		f.kind = filterEqual
	}
	f.known = f.known && !dn
	return nil
}

// addresses passes on every address that a filter asks for: in equalities of
// mail, and whole ones in substrings of anything. What is negated is not asked for.
func (f *filter) addresses(found func(text string, substring bool)) {
	switch f.kind {
	case filterAnd, filterOr:
		for i := range f.parts {
			f.parts[i].addresses(found)
		}
	case filterEqual, filterApprox:
		if f.known && f.attribute == typesByName["mail"] {
			found(f.value, false)
		}
	case filterSubstrings:
		for _, part := range append([]string{f.substrings.initial, f.substrings.final}, f.substrings.any...) {
			if strings.Contains(part, "@") {
				found(part, true)
			}
		}
	}
}

// decide evaluates the parts of a filter, of which one alone decides by its truth. Where
// none does it is otherwise, unless that of a part is undefined.
func (f *filter) decide(e *entry, decisive, otherwise truth) truth {
	for i := range f.parts {
		switch f.parts[i].matches(e) {
		case decisive:
			return decisive
		case undefined:
			otherwise = undefined
		}
	}
	return otherwise
}

// matches evaluates a filter on an entry.
func (f *filter) matches(e *entry) truth {
	switch f.kind {
	case filterAnd:
		return f.decide(e, no, yes)
	case filterOr:
		return f.decide(e, yes, no)
	case filterNot:
		switch f.parts[0].matches(e) {
		case yes:
			return no
		case no:
			return yes
		}
		return undefined
	}
	if !f.known {
		return undefined
	}
	values := e.values(f.attribute)
	if f.kind == filterPresent {
		return truthOf(len(values) > 0)
	}
	// There are no rules to match certificates by, or to order what there is.
	if f.attribute.binary || !utf8.ValidString(f.value) {
		return undefined
	}
	switch f.kind {
	case filterEqual, filterApprox:
		want := f.fold(f.value)
		for _, value := range values {
			if f.fold(value) == want {
				return yes
			}
		}
		return no
	case filterSubstrings:
		for _, value := range values {
			if f.substrings.in(value) {
				return yes
			}
		}
		return no
	}
	return undefined
}

// in reports whether a value has the substrings, in order.
func (s *substrings) in(value string) bool {
	value = fold(value)
	value, ok := strings.CutPrefix(value, fold(s.initial))
	if !ok {
		return false
	}
	for _, part := range s.any {
		_, rest, found := strings.Cut(value, fold(part))
		if !found {
			return false
		}
		value = rest
	}
	return strings.HasSuffix(value, fold(s.final))
}

// fold prepares a value for the comparison that its attribute has.
func (f *filter) fold(s string) string {
	if f.attribute.oid == "2.5.4.0" {
		if name, ok := classesByName[strings.ToLower(s)]; ok {
			return name
		}
	}
	return fold(s)
}

// fold is the gist of what RFC 4518 prepares strings by to ignore case: case,
// and white space that does not count.
func fold(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
