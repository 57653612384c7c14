// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"bytes"
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
run it as the user that cleatd runs as. The snapshot may be etcd's. Give
--cluster-key, what ca key export has written, to go on with the CA.

Examples:
  cleatctl snapshot restore backup.db --cluster-key cluster-key.age
  cleatctl snapshot restore backup.db --bump-revision 1000000000 --mark-compacted`,
		Flags: append(foundingFlags(),
			&cli.StringFlag{Name: "data-dir", Usage: "restore to this empty `DIR`"},
			&cli.Int64Flag{Name: "bump-revision", Usage: "begin `N` revisions behind the snapshot's"},
			&cli.BoolFlag{Name: "mark-compacted", Usage: "mark what came before as compacted (goes with --bump-revision)"},
			&cli.StringFlag{Name: "cluster-key", Usage: "go on with the CA, which the key in `FILE` opens"},
			&cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase of that from the first line of `FILE`"},
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
	for _, name := range []string{"cluster-key", "passphrase-file"} {
		if path := c.String(name); path != "" {
			args = append(args, "--"+name, path)
		}
	}
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	if form == jsonForm {
		args = append(args, "--json")
	}
	daemon, err := cleatd()
	if err != nil {
		return err
	}
	err = runShown(c, daemon, append(args, "--progress-fd", "3", "--", c.Args().First()))
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return fmt.Errorf("restore: %s has ended with code %d, and says why above", daemon, ended.ExitCode())
	}
	return err
}

// runShown runs cleatd, which tells by its third file how far it is, and shows
// that.
func runShown(c *cli.Context, daemon string, args []string) error {
	reading, writing, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reading.Close()
	var said bytes.Buffer // only then, so that it does not get between the lines of progress
	run := exec.CommandContext(c.Context, daemon, args...)
	run.Stdout, run.Stderr, run.ExtraFiles = c.App.Writer, &said, []*os.File{writing}
	err = run.Start()
	_ = writing.Close() // this program's copy, so that the pipe ends with cleatd
	if err != nil {
		return err
	}
	shown := startProgress(c, "restoring", inBytes)
	for lines := bufio.NewScanner(reading); lines.Scan(); {
		var done, total int64
		if n, _ := fmt.Sscan(lines.Text(), &done, &total); n == 2 { // else it is cut by its end
			shown.set(done, total)
		}
	}
	err = run.Wait()
	shown.Close()
	_, _ = c.App.ErrWriter.Write(said.Bytes()) // who has gone is told nothing
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
