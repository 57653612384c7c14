// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// What package flag says of a value that is none of its flag's: the value, the
// flag, why.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value "(.*)" for (?:flag )?-([a-z0-9-]+): (.*)$`)

// asMisuse says of a bad value what a good one would be. Nothing else: the library
// would print the help on stdout, and end with code 1.
func asMisuse(c *cli.Context, err error, _ bool) error {
	found := badValue.FindStringSubmatch(err.Error())
	if found == nil {
		return misuse("%v", err)
	}
	value, name, why := found[1], found[2], found[3]
	wanted := valueOf(c, name)
	if wanted == "" {
		return misuse("%v", err)
	}
	if strings.Contains(why, "out of range") {
		return misuse("--%s %s is beyond what it may be: give %s", name, value, wanted)
	}
	return misuse("--%s %q is not %s", name, value, wanted)
}

// valueOf is what a flag of the command, or of those above it, takes.
func valueOf(c *cli.Context, name string) string {
	for _, each := range c.Lineage() {
		flags := []cli.Flag{}
		if each.Command != nil {
			flags = append(flags, each.Command.Flags...)
		}
		if each.App != nil {
			flags = append(flags, each.App.Flags...)
		}
		for _, f := range flags {
			if !slices.Contains(f.Names(), name) {
				continue
			}
			switch f.(type) {
			case *cli.DurationFlag:
				return "a duration, as 90s or 1h30m"
			case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag:
				return "a whole number"
			case *cli.BoolFlag:
				return "true or false"
			}
		}
	}
	return ""
}
