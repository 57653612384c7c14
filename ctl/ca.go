// SPDX-License-Identifier: Apache-2.0

package ctl

import "github.com/urfave/cli/v2"

func caCommand() *cli.Command {
	return &cli.Command{
		Name:  "ca",
		Usage: "the cluster's certificate authority",
		Description: `Example:
  cleatctl ca key export cluster-key.age`,
		Subcommands: []*cli.Command{caLockCommand(), caUnlockCommand(), caKeyCommand()},
	}
}
