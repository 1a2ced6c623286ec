package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestArchitecture holds that the page on the architecture speaks of what there is: every
// room that it lists is a folder, every folder is listed, and every name in it is declared.
func TestArchitecture(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	names, files, folders := declared(t)
	var rooms []string
	for _, m := range regexp.MustCompile(`(?m)^    (\S+)/  +\S`).FindAllStringSubmatch(string(page), -1) {
		rooms = append(rooms, m[1])
		if !folders[m[1]] {
			t.Errorf("the page lists %s/, where there is no package", m[1])
		}
	}
	// Programs, and what is for tests only, are no rooms of what is served.
	apart := []string{"bench/", "cmd/", "packaging/", "test/", "internal/demo", "internal/harness", "internal/pebble", "internal/testcert", "internal/disk/fake", "discover/discovertest"}
	for folder := range folders {
		if !slices.Contains(rooms, folder) && !within(folder, apart) {
			t.Errorf("the page does not list %s/", folder)
		}
	}
	others := []string{"Server.ServeDNS", "reload", "state"}                       // CoreDNS's, and options of the Corefile
	plain := regexp.MustCompile("(?m)^    .*$").ReplaceAllString(string(page), "") // without drawings
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(plain, -1) {
		name := m[1]
		switch {
		case strings.HasSuffix(name, ".go"):
			if !files[filepath.Base(name)] {
				t.Errorf("the page names %s, which there is not", name)
			}
		case regexp.MustCompile(`^[A-Za-z]+(\.[A-Za-z]+)*$`).MatchString(name) && !names[name] && !slices.Contains(others, name):
			t.Errorf("the page names %s, which nothing declares", name)
		}
	}
	for _, m := range regexp.MustCompile(`[a-z_/]+\.go\b`).FindAllString(plain, -1) {
		if !files[filepath.Base(m)] {
			t.Errorf("the page names %s, which there is not", m)
		}
	}
}

// declared returns what the code of the module declares, apart from tests: names as a page
// may write them (a package, package.Name, Name, Type.Member, package.Type.Member), its files
// by their base names, and the folders of its packages. A member may stand for itself.
func declared(t *testing.T) (names, files, folders map[string]bool) {
	t.Helper()
	names, files, folders = map[string]bool{}, map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		files[filepath.Base(name)] = true
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folders[strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), "../")] = true
		names[file.Name.Name] = true
		for name := range topLevel(file) {
			names[name], names[file.Name.Name+"."+name] = true, true
			names[name[strings.LastIndexByte(name, '.')+1:]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, files, folders
}

// topLevel returns what a file declares: Name, and Type.Member of methods and fields.
func topLevel(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiver(d.Recv.List[0].Type) + "." + name
			}
			names[name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						names[id.Name] = true
					}
				case *ast.TypeSpec:
					names[spec.Name.Name] = true
					if s, ok := spec.Type.(*ast.StructType); ok {
						for _, field := range s.Fields.List {
							for _, id := range field.Names {
								names[spec.Name.Name+"."+id.Name] = true
							}
						}
					}
				}
			}
		}
	}
	return names
}

// receiver returns the name of a method's type.
func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
