package main

import "flag"

var completionVerb = verb{name: "completion", setup: func(*flag.FlagSet) action { return nil }}
