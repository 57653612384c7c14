// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

const jsonFlag = "json"

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "read the settings as a start would, and say whether they are good",
		ArgsUsage: " ",
		Description: `Reads the file, the environment and the flags that are given to it, and nothing
else: no data directory is touched and no door opened. Exit code 2, with what is
wrong and where, if cleatd would not start with them. cleatctl doctor looks at
the machine as well.

Example:
  cleatd check --config /etc/cleat/cleatd.toml && systemctl reload cleatd`,
		Flags: append(flags(),
			&cli.BoolFlag{Name: jsonFlag, DisableDefaultText: true, Usage: "print each setting as it would count, as a JSON object"},
		),
		OnUsageError: usageError,
		Action:       check,
	}
}

func check(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q; check takes only flags", daemon.ErrConfig, c.Args().First())
	}
	config, err := load(c)
	if err != nil {
		return err
	}
	if err := config.CheckFiles(); err != nil {
		return err
	}
	if !c.Bool(jsonFlag) {
		_, err := fmt.Fprintf(c.App.Writer, "The settings are good: member %s, data directory %s, socket %s.\n", config.Name, config.DataDir, config.Socket)
		return err
	}
	settings := make(map[string]string)
	for _, s := range daemon.Settings() {
		settings[s.Name] = s.Text(config)
	}
	return json.NewEncoder(c.App.Writer).Encode(settings)
}
