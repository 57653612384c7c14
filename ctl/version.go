// SPDX-License-Identifier: Apache-2.0

package ctl

import (
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
			out, err := newPrinter(c, anyForm)
			if err != nil {
				return err
			}
			this := struct {
				Cleatctl string `json:"cleatctl"`
				API      string `json:"api"`
				Commit   string `json:"commit"`
				Go       string `json:"go"`
			}{Version, version.APIVersion, Commit, runtime.Version()}
			return out.line(this, "cleatctl version: %s\nAPI version: %s\nCommit: %s\nGo version: %s", this.Cleatctl, this.API, this.Commit, this.Go)
		},
	}
}
