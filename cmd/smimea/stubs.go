package main

import "flag"

var doctorVerb = verb{name: "doctor", setup: func(*flag.FlagSet) action { return nil }}
var completionVerb = verb{name: "completion", setup: func(*flag.FlagSet) action { return nil }}
