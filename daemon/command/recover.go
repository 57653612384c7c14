// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

const forceFlag = "force-new-cluster"

func (b Build) recoverCommand() *cli.Command {
	return &cli.Command{
		Name:      "recover",
		Usage:     "make a stopped member a cluster of its own, when the majority is lost for good",
		ArgsUsage: " ",
		Description: `When most members of a cluster are lost for good, those that are left cannot
agree upon anything. This makes one of them, which must be stopped, the only
member of a new cluster with all the data that it has. Choose the one with the
newest data: cleatctl status shows its revision. What the others acknowledged
and this one has not heard of is lost. Members that come back are refused; empty
their data directories and invite them again.

Example:
  systemctl stop cleatd; cleatd recover --force-new-cluster; systemctl start cleatd`,
		Flags:        append(flags(), &cli.BoolFlag{Name: forceFlag, Usage: "I know what is lost"}),
		OnUsageError: usageError,
		Action:       b.recoverMember,
	}
}

func (b Build) recoverMember(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q", daemon.ErrConfig, c.Args().First())
	}
	config, err := load(c)
	if err != nil {
		return err
	}
	if !c.Bool(forceFlag) {
		return fmt.Errorf("%w: recover makes the member in %s a cluster of its own: what the others acknowledged and it has not heard of is lost; "+
			"if the majority is gone for good, give --%s", daemon.ErrConfig, config.DataDir, forceFlag)
	}
	signal.Reset(syscall.SIGTERM, syscall.SIGINT) // it may end anywhere
	level := new(slog.LevelVar)
	level.Set(max(config.LogLevel, slog.LevelError))
	r, err := daemon.Recover(daemon.Options{Config: config, Level: level, Logger: daemon.NewLogger(os.Stderr, level), Version: b.Version})
	if err != nil {
		return err
	}
	tell(c.App.Writer, r)
	return nil
}

func tell(w io.Writer, r daemon.Recovered) {
	fmt.Fprintf(w, "Member %016x is a cluster of its own now, %016x, at revision %d: start it.\n", r.Member, r.Cluster, r.Revision)
	if r.Unconfirmed > 0 {
		fmt.Fprintf(w, "The last %d entries of its log count; they were not known to be agreed upon.\n", r.Unconfirmed)
	}
	if len(r.Others) == 0 {
		return
	}
	fmt.Fprintln(w, "What these had acknowledged and it had not heard of is lost. They are no members any more;\nempty their data directories before they join again:")
	for _, m := range r.Others {
		fmt.Fprintf(w, "  %016x  %s\n", m.ID, m.Name)
	}
}
