// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ctl

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// What looks at the machine of a member is here only to say where it works.

func doctorCommand() *cli.Command { return onLinux("doctor", "look at a member's machine") }

func topCommand() *cli.Command { return onLinux("top", "watch what the members do, live") }

func onLinux(name, usage string) *cli.Command {
	return &cli.Command{
		Name:  name,
		Usage: usage,
		Description: `Example:
  cleatctl ` + name,
		Action: func(*cli.Context) error {
			return fmt.Errorf("%s looks at the machine of a member, and members run on Linux: run it there", name)
		},
	}
}
