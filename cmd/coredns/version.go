package main

import (
	"runtime/debug"

	"github.com/coredns/coredns/coremain"
)

// version is the plugin's, set when a package is built.
var version = ""

// nameVersion has CoreDNS say with its own version which smimea is in it: in what
// -version prints, in the log, and as the revision in its build information metric.
// The first line of -version stays as stock CoreDNS has it.
func nameVersion() {
	revision := coremain.GitCommit
	if revision != "" {
		revision += ", "
	}
	coremain.GitCommit = revision + "smimea-" + pluginVersion()
}

// pluginVersion returns the version that was set, or that Go has of the module.
func pluginVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
