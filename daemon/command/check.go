// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

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
		Flags:        flags(),
		OnUsageError: usageError,
		Action:       check,
	}
}

func check(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q", daemon.ErrConfig, c.Args().First())
	}
	_, err := daemon.Check(c.String("config"), os.Environ(), given(c))
	var faults daemon.Faults
	if !errors.As(err, &faults) {
		if err == nil {
			fmt.Fprintln(c.App.Writer, "The configuration is good.")
		}
		return err
	}
	for _, f := range faults[:len(faults)-1] {
		fmt.Fprintf(os.Stderr, "cleatd: %v\n", f)
	}
	return fmt.Errorf("%w: %v", daemon.ErrConfig, faults[len(faults)-1])
}
