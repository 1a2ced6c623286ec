// Package version says which version of this project a program is of.
package version

import "runtime/debug"

// Or returns set, which the linker has put into a program when it was packaged, or
// else what Go has of the module: a tag, or "(devel)" for one built from a working
// copy, with the revision if Go knows it.
func Or(set string) string {
	if set != "" {
		return set
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	text := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && text == "(devel)" {
			text += "-" + setting.Value[:min(len(setting.Value), 12)]
		}
	}
	return text
}
