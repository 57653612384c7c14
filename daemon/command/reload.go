// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

// reloadLimit is how long a member may take; a reload waits for nobody.
const reloadLimit = time.Minute

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:      "reload",
		Usage:     "have the running member read its settings and certificate again, and wait for the outcome",
		ArgsUsage: " ",
		Description: `The member is asked at its socket, which is found as the member finds it; the
member reads the file, variables and flags that it was started with. What has
changed is printed, as is what needs a restart. A configuration with any fault
is refused as a whole: the code is then 1, and the reason one line. SIGHUP does
the same without telling how it went.

Example:
  cleatd reload --config /etc/cleat/cleatd.toml`,
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "socket", Usage: "the member's socket at `PATH`"},
		},
		OnUsageError: usageError,
		Action:       reload,
	}
}

func reload(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q", daemon.ErrConfig, c.Args().First())
	}
	given := map[string]string{}
	if c.IsSet("socket") {
		given["socket"] = c.String("socket")
	}
	ctx, cancel := context.WithTimeout(c.Context, reloadLimit)
	defer cancel()
	return daemon.AskReload(ctx, daemon.SocketOf(c.String("config"), os.Environ(), given), c.App.Writer)
}
