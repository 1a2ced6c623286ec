package directory

import (
	"maps"
	"slices"
	"strings"
)

// folders are the directories that a [Watch] watches, as a tree, so that one that
// goes takes along what is below it and costs nothing else.
type folders struct {
	top *folder
	by  map[int][]*folder // by watch: one directory can be at several paths
}

// A folder is a directory at one path.
type folder struct {
	name   string
	parent *folder // nil for the top, and once it is cut off
	below  map[string]*folder
	watch  int
}

// unwatched is no number of a watch.
const unwatched = -1

func newFolders() folders {
	return folders{&folder{name: ".", watch: unwatched}, map[int][]*folder{}}
}

// at returns the folder at a path, made if need be.
func (t *folders) at(p string) *folder {
	f := t.top
	if p == "." {
		return f
	}
	for name := range strings.SplitSeq(p, "/") {
		child := f.below[name]
		if child == nil {
			child = &folder{name: name, parent: f, watch: unwatched}
			if f.below == nil {
				f.below = map[string]*folder{}
			}
			f.below[name] = child
		}
		f = child
	}
	return f
}

func (t *folders) watched(f *folder, watch int) {
	f.watch = watch
	t.by[watch] = append(t.by[watch], f)
}

func (t *folders) unwatched(f *folder) {
	others := slices.DeleteFunc(t.by[f.watch], func(o *folder) bool { return o == f })
	if len(others) == 0 {
		delete(t.by, f.watch)
	} else {
		t.by[f.watch] = others
	}
	f.watch = unwatched
}

// cut takes a folder out of the tree. The top stays, and loses what is below it.
func (t *folders) cut(f *folder) {
	if f.parent != nil {
		delete(f.parent.below, f.name)
		f.parent = nil
	}
	if f == t.top {
		t.top = &folder{name: ".", watch: unwatched}
	}
}

// path returns a folder's path below the top.
func (f *folder) path() string {
	if f.parent == nil {
		return f.name
	}
	var names []string
	for ; f.parent != nil; f = f.parent {
		names = append(names, f.name)
	}
	if f.name != "." {
		names = append(names, f.name) // it is cut off
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// each calls do for a folder and all that are below it.
func (f *folder) each(do func(*folder)) {
	do(f)
	for child := range maps.Values(f.below) {
		child.each(do)
	}
}
