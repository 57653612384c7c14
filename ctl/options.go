// SPDX-License-Identifier: Apache-2.0

package ctl

import "github.com/urfave/cli/v2"

func optionsCommand() *cli.Command {
	return &cli.Command{
		Name:  "options",
		Usage: "show the flags that every command takes",
		Description: `Example:
  cleatctl options`,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			cli.HelpPrinter(c.App.Writer, optionsText, c.App)
			return nil
		},
	}
}

const optionsText = `The following options can be passed to any command:

{{range .VisibleFlags}}  {{.}}
{{end}}
Each can also be given as CLEATCTL_NAME, or else ETCDCTL_NAME, in the environment.
`
