// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"
)

func snapshotRestoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "make an empty data directory a new cluster with the data of a snapshot",
		ArgsUsage: "FILE",
		Description: `Runs cleatd restore, which knows data directories, on this machine: see there.
Without --data-dir it is cleatd's own, which must be empty and cleatd stopped;
run it as the user that cleatd runs as. The snapshot may be etcd's.

Example:
  cleatctl snapshot restore backup.db --bump-revision 1000000000 --mark-compacted`,
		Flags: append(foundingFlags(),
			&cli.StringFlag{Name: "data-dir", Usage: "restore to this empty `DIR`"},
			&cli.Int64Flag{Name: "bump-revision", Usage: "begin `N` revisions behind the snapshot's"},
			&cli.BoolFlag{Name: "mark-compacted", Usage: "mark what came before as compacted (goes with --bump-revision)"},
			&cli.BoolFlag{Name: "skip-hash-check", Usage: "take a file without a checksum: a copy of member/snap/db of an etcd that is stopped"},
		),
		Action: snapshotRestore,
	}
}

func snapshotRestore(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse("snapshot restore takes one argument, the snapshot's file, but was given %d", c.NArg())
	}
	bump := c.Int64("bump-revision")
	if bump < 0 || (bump > 0) != c.Bool("mark-compacted") {
		return misuse("--bump-revision N, which is above zero, and --mark-compacted go together")
	}
	if err := checkFounding(c); err != nil {
		return err
	}
	args := []string{"restore"}
	if dir := c.String("data-dir"); dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		args = append(args, "--data-dir", absolute)
	}
	if bump > 0 {
		args = append(args, "--bump-revision", strconv.FormatInt(bump, 10), "--mark-compacted")
	}
	if c.Bool("skip-hash-check") {
		args = append(args, "--skip-hash-check")
	}
	daemon, err := cleatd()
	if err != nil {
		return err
	}
	run := exec.CommandContext(c.Context, daemon, append(args, "--", c.Args().First())...)
	run.Stdout, run.Stderr = c.App.Writer, c.App.ErrWriter
	err = run.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return fmt.Errorf("restore: %s has ended with code %d, and says why above", daemon, ended.ExitCode())
	}
	return err
}

// cleatd finds the daemon's program: beside this one, or where programs are.
func cleatd() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "cleatd")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	found, err := exec.LookPath("cleatd")
	if err != nil {
		return "", fmt.Errorf("find cleatd, which does this: %w", err)
	}
	return found, nil
}
