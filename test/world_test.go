package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWorld holds where the time, the disk and the network enter: what a package asks of the
// machine stands in the rooms that are listed here, and all others are given what it says.
// So a simulation can put something else in its place, and nothing that answers can wait.
func TestWorld(t *testing.T) {
	const cmd, hall = "it is a program, and gives its rooms what they need", "it is the hall, and gives its rooms what they need"
	rules := []struct {
		what string
		of   map[string][]string // by package, names that ask the machine for something
		in   map[string]string   // folders where they may stand, and why; those below one that ends in /
	}{
		{
			what: "the clock",
			of:   map[string][]string{"time": {"Now", "Since", "Until"}},
			in: map[string]string{
				"cmd/":                      cmd,
				"plugin":                    hall,
				"internal/disk":             "it is the machine: a publisher has its clock from it",
				"discover":                  "a Client may have another clock; deadlines are by this one",
				"discover/dnssec":           "a Validator may have another clock",
				"discover/diagnose":         "it says what is true now, and nobody simulates it",
				"ldap":                      "connections have deadlines",
				"ldap/bridge":               "cross-certificates begin now",
				"ldap/directory":            "it follows a directory for a program that answers by the hour",
				"ldap/world":                "verdicts are kept for as long as they hold",
				"plugin/internal/certhost":  "connections have deadlines",
				"plugin/internal/lane":      "it reads the clock once for a batch of queries",
				"plugin/internal/secondary": "secondaries are asked again after a while",
				"plugin/internal/sign":      "it measures its own work, to leave time to queries",
			},
		},
		{
			what: "the disk",
			of: map[string][]string{"os": {
				"Open", "OpenFile", "OpenRoot", "Create", "CreateTemp", "ReadFile", "ReadDir", "WriteFile", "Stat", "Lstat", "Readlink", "DirFS",
				"Mkdir", "MkdirAll", "MkdirTemp", "Remove", "RemoveAll", "Rename", "Link", "Symlink", "Chmod", "Chtimes", "Truncate",
			}},
			in: map[string]string{
				"cmd/":                     cmd,
				"plugin":                   "it looks whether there is a directory before it starts",
				"internal/disk":            "it is the machine",
				"internal/statefile":       "its Disk is what a state is kept on",
				"ldap/bridge":              "it keeps its keys",
				"plugin/internal/certhost": "processes that share a storage of ACME tell each other of challenges",
				"plugin/internal/crl":      "its World says whether a list's file has changed",
			},
		},
		{
			what: "the network",
			of: map[string][]string{
				"net":                   {"Dial", "DialTimeout", "DialUDP", "DialTCP", "Dialer", "Listen", "ListenConfig", "ListenPacket", "ListenUDP", "ListenTCP", "Resolver", "LookupHost", "LookupIP"},
				"net/http":              {"Client", "Transport", "Server", "Get", "Head", "Post", "DefaultClient", "DefaultTransport", "ListenAndServe"},
				"github.com/miekg/dns":  {"Client", "Dial", "Exchange", "ExchangeContext", "Server", "ListenAndServe"},
				"golang.org/x/sys/unix": {"Socket"},
			},
			in: map[string]string{
				"cmd/":                      cmd,
				"internal/download":         "it asks web servers for lists",
				"discover":                  "it asks name servers and web servers",
				"plugin/internal/certhost":  "it is a server, and asks authorities for its certificate",
				"plugin/internal/lane":      "it is sockets",
				"plugin/internal/secondary": "it announces zones to secondaries, and asks what they have",
			},
		},
	}
	// Programs and helpers of tests and benchmarks are no part of what is served.
	apart := []string{"bench/", "packaging/", "test/", "discover/discovertest", "internal/demo", "internal/harness", "internal/pebble", "internal/testcert", "internal/disk/fake"}
	used := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(name), ".."+string(filepath.Separator)))
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || within(folder, apart) {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		for _, rule := range rules {
			allowed := ""
			for room := range rule.in {
				if within(folder, []string{room}) {
					allowed = room
				}
			}
			for path, names := range rule.of {
				for _, found := range selected(file, path, names) {
					if allowed == "" {
						t.Errorf("%s uses %s.%s: %s does not enter there; have it given by who knows", name, path, found, rule.what)
					}
					used[rule.what+allowed] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		for room := range rule.in {
			if !used[rule.what+room] {
				t.Errorf("%s does not enter in %s any more: take it out of the list", rule.what, room)
			}
		}
	}
}

// within reports whether a folder is one of some, or below one of those that end in /.
func within(folder string, some []string) bool {
	return slices.ContainsFunc(some, func(one string) bool {
		return folder == strings.TrimSuffix(one, "/") || strings.HasSuffix(one, "/") && strings.HasPrefix(folder, one)
	})
}

// selected returns those of some names of a package that a file uses.
func selected(file *ast.File, path string, names []string) (found []string) {
	as := ""
	for _, imported := range file.Imports {
		if p, err := strconv.Unquote(imported.Path.Value); err == nil && p == path {
			if as = path[strings.LastIndexByte(path, '/')+1:]; imported.Name != nil {
				as = imported.Name.Name
			}
		}
	}
	if as == "" {
		return nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		// One that is resolved is a variable of the file, and not the package.
		if id, ok := s.X.(*ast.Ident); ok && id.Name == as && id.Obj == nil && slices.Contains(names, s.Sel.Name) {
			found = append(found, s.Sel.Name)
		}
		return true
	})
	return found
}
