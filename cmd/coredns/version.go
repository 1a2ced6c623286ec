package main

import (
	"github.com/coredns/coredns/coremain"

	"coredns-smimea/internal/version"
)

// packaged is the plugin's version, set when a package is built.
var packaged = ""

// nameVersion has CoreDNS say with its own version which smimea is in it: in what
// -version prints, in the log, and as the revision in its build information metric.
// The first line of -version stays as stock CoreDNS has it.
func nameVersion() {
	revision := coremain.GitCommit
	if revision != "" {
		revision += ", "
	}
	coremain.GitCommit = revision + "smimea-" + version.Or(packaged)
}
