// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/version"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version of this program",
		Description: `Example:
  cleatctl version`,
		Action: func(c *cli.Context) error {
			fmt.Fprintf(c.App.Writer, "cleatctl version: %s\nAPI version: %s\nCommit: %s\nGo version: %s\n",
				Version, version.APIVersion, Commit, runtime.Version())
			return nil
		},
	}
}
