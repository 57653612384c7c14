// SPDX-License-Identifier: Apache-2.0

package ctl

import (
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
			out, err := newPrinter(c, anyForm)
			if err != nil {
				return err
			}
			this := struct {
				Cleatctl string `json:"cleatctl"`
				API      string `json:"api"`
			}{Version, version.APIVersion}
			return out.outcome(this, "cleatctl version: %s\nAPI version: %s", this.Cleatctl, this.API)
		},
	}
}
