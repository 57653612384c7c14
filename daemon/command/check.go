// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

// jsonFlag has an answer as JSON.
const jsonFlag = "json"

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "say all that is wrong with a configuration, without starting",
		ArgsUsage: " ",
		Description: `Reads the file, variables and flags as the member would, and prints one line for
each fault: where it stands, the key, its value and what is wanted. The code is
then 2. Nothing is started, written or listened on.

Example:
  cleatd check --config /etc/cleat/cleatd.toml`,
		Flags: append(flags(),
			&cli.BoolFlag{Name: jsonFlag, DisableDefaultText: true, Usage: "print each setting as it would count, as a JSON object"},
		),
		OnUsageError: usageError,
		Action:       check,
	}
}

func check(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q", daemon.ErrConfig, c.Args().First())
	}
	config, err := daemon.Check(c.String("config"), os.Environ(), given(c))
	var faults daemon.Faults
	if !errors.As(err, &faults) {
		if err != nil {
			return err
		}
		return good(c, config)
	}
	for _, f := range faults[:len(faults)-1] {
		fmt.Fprintf(os.Stderr, "cleatd: %v\n", f)
	}
	return fmt.Errorf("%w: %v", daemon.ErrConfig, faults[len(faults)-1])
}

// good tells of settings that are, all of them with --json.
func good(c *cli.Context, config daemon.Config) error {
	if !c.Bool(jsonFlag) {
		_, err := fmt.Fprintln(c.App.Writer, "The configuration is good.")
		return err
	}
	settings := make(map[string]string)
	for _, s := range daemon.Settings() {
		settings[s.Name] = s.Text(&config)
	}
	return json.NewEncoder(c.App.Writer).Encode(settings)
}
