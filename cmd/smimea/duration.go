package main

import (
	"errors"
	"flag"
	"strconv"
	"strings"
	"time"
)

// duration is the value of a flag: a duration, which can be given in days, too.
type duration time.Duration

// durationVar defines a flag of a duration, with its default.
func durationVar(f *flag.FlagSet, d *time.Duration, name string, standard time.Duration, usage string) {
	*d = standard
	f.Var((*duration)(d), name, usage)
}

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Set(s string) error {
	value, err := time.ParseDuration(s)
	if number, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(number, 10, 16)
		value = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || value < 0 {
		return errors.New("want a number and its unit, as in 30s, 720h or 30d")
	}
	*d = duration(value)
	return nil
}
