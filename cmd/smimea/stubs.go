package main

import "flag"

var checkVerb = verb{name: "check", setup: func(*flag.FlagSet) action { return nil }}
var doctorVerb = verb{name: "doctor", setup: func(*flag.FlagSet) action { return nil }}
var completionVerb = verb{name: "completion", setup: func(*flag.FlagSet) action { return nil }}
