package main

import (
	"flag"
	"runtime"

	"coredns-smimea/internal/version"
)

// packaged is the version, set when a package is built.
var packaged = ""

var versionVerb = verb{
	name:    "version",
	summary: "the version of this command",
	help: `
Prints the version of this command, and of the Go that it is built with.
`,
	setup: func(*flag.FlagSet) action { return printVersion },
}

type versionJSON struct {
	Schema  string `json:"schema"` // smimea-version/1
	Version string `json:"version"`
	Go      string `json:"go"`
}

func printVersion(u *ui, operands []string) (exit, error) {
	if len(operands) > 0 {
		return 0, usageError("no operands are wanted")
	}
	v := versionJSON{"smimea-version/1", version.Or(packaged), runtime.Version()}
	if u.json {
		return exitOK, u.emit(v)
	}
	u.print("smimea %s, %s\n", v.Version, v.Go)
	return exitOK, nil
}
