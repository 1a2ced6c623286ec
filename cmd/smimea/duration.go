package main

import (
	"errors"
	"flag"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// duration is the value of a flag: a duration, which can be given in days and weeks, too.
type duration time.Duration

// durationVar defines a flag of a duration, with its default.
func durationVar(f *flag.FlagSet, d *time.Duration, name string, standard time.Duration, usage string) {
	*d = standard
	f.Var((*duration)(d), name, usage)
}

func (d *duration) String() string { return time.Duration(*d).String() }

// inDays is a duration whose first units are weeks and days, which time has none of.
var inDays = regexp.MustCompile(`^(?:([0-9]{1,5})w)?(?:([0-9]{1,5})d)?(.*)$`)

func (d *duration) Set(s string) error {
	parts := inDays.FindStringSubmatch(s)
	weeks, _ := strconv.Atoi(parts[1])
	days, _ := strconv.Atoi(parts[2])
	value := time.Duration(7*weeks+days) * 24 * time.Hour
	var err error
	if rest := parts[3]; rest != "" || s == "" {
		var hours time.Duration
		if hours, err = time.ParseDuration(rest); hours < 0 || strings.HasPrefix(rest, "+") {
			err = errors.New("it has a sign")
		}
		value += hours
	}
	if err != nil || value < 0 {
		return errors.New("want a number and its unit, as in 30s, 720h, 30d or 4w")
	}
	*d = duration(value)
	return nil
}
