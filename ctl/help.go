// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// called is the command's name as it is typed behind the program's.
func called(c *cli.Context) string {
	return strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ")
}

// Help fits on one screen and shows an example; a command's page leaves out
// the flags that all commands take.

const appHelp = `cleatctl - {{.Usage}}

Usage:
  cleatctl COMMAND [FLAGS] [ARGUMENTS]    flags can stand anywhere; after -- all are arguments
  cleatctl COMMAND --help                 more about a command
  cleatctl options                        the flags of every command

Commands:
{{range .VisibleCommands}}  {{.Name}}{{"\t"}}{{.Usage}}
{{end}}
Without --endpoints and --context the current context counts (cleatctl login); if
there is none, the member on this machine is asked, through its socket.

Examples:
  cleatctl put foo bar
  cleatctl get foo --endpoints=10.0.0.1:2379 --cacert=ca.crt --cert=alice.crt --key=alice.key
`

const commandHelp = `{{.HelpName}} - {{.Usage}}

Usage:
  {{.HelpName}}{{if .VisibleFlags}} [FLAGS]{{end}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}
{{if .Description}}
{{.Description}}
{{end}}
Flags:
{{range .VisibleFlags}}  {{.}}
{{end}}
Flags of every command: cleatctl options
`

const groupHelp = `{{.HelpName}} - {{.Usage}}

Usage:
  {{.HelpName}} COMMAND [FLAGS] [ARGUMENTS]

Commands:
{{range .VisibleCommands}}  {{.Name}}{{"\t"}}{{.Usage}}
{{end}}
{{.Description}}

Flags:
{{range .VisibleFlags}}  {{.}}
{{end}}
More about a command: {{.HelpName}} COMMAND --help
`
