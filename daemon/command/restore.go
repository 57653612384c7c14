// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

const (
	bumpFlag     = "bump-revision"
	compactFlag  = "mark-compacted"
	skipHashFlag = "skip-hash-check"
	progressFlag = "progress-fd"

	clusterKeyFlag = "cluster-key"
	passphraseFlag = "passphrase-file"
)

func (b Build) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "make an empty data directory a new cluster with the data of a snapshot",
		ArgsUsage: "FILE",
		Description: `The snapshot is one that cleatctl or etcdctl saved, of cleat or of etcd 3.4 to
3.7. The new cluster has an id and a member of its own; further members
join it as usual. Nothing is written before all of the file was checked. Run it
as the user that cleatd runs as. Clients that hold on to revisions, such as
Kubernetes, must not see one again: raise it by more than was written since the
snapshot, and mark what came before as compacted.

Example:
  cleatd restore backup.db --bump-revision 1000000000 --mark-compacted`,
		Flags: append(flags(),
			&cli.Int64Flag{Name: bumpFlag, Usage: "begin `N` revisions behind the snapshot's"},
			&cli.StringFlag{Name: clusterKeyFlag, Usage: "go on with the CA, which the key in `FILE` opens"},
			&cli.StringFlag{Name: passphraseFlag, Usage: "read the passphrase of that from the first line of `FILE`"},
			&cli.BoolFlag{Name: compactFlag, DisableDefaultText: true, Usage: "mark what came before as compacted (goes with --" + bumpFlag + ")"},
			&cli.BoolFlag{Name: jsonFlag, DisableDefaultText: true, Usage: "print what was restored as JSON"},
			&cli.IntFlag{Name: progressFlag, Hidden: true}, // for cleatctl, which shows it
			&cli.BoolFlag{Name: skipHashFlag, DisableDefaultText: true, Usage: "take a file without a checksum: a copy of member/snap/db of an etcd that is stopped"},
		),
		OnUsageError: usageError,
		Action:       b.restore,
	}
}

func (b Build) restore(c *cli.Context) error {
	if c.NArg() != 1 {
		return fmt.Errorf("%w: restore takes one argument, the snapshot's file, but was given %d", daemon.ErrConfig, c.NArg())
	}
	bump := c.Int64(bumpFlag)
	if bump < 0 || (bump > 0) != c.Bool(compactFlag) {
		return fmt.Errorf("%w: --%s N, which is above zero, and --%s go together: clients must not read or watch what lies between",
			daemon.ErrConfig, bumpFlag, compactFlag)
	}
	config, err := load(c)
	if err != nil {
		return err
	}
	key, err := clusterKeyOf(c)
	if err != nil {
		return err
	}
	signal.Reset(syscall.SIGTERM, syscall.SIGINT) // it may end anywhere
	level := new(slog.LevelVar)
	level.Set(max(config.LogLevel, slog.LevelError))
	what := daemon.Restoring{File: c.Args().First(), SkipHash: c.Bool(skipHashFlag), Bump: bump, Read: new(atomic.Int64), ClusterKey: key}
	end := tellProgress(c.Int(progressFlag), what)
	r, err := daemon.Restore(
		daemon.Options{Config: config, Level: level, Logger: daemon.NewLogger(os.Stderr, level), Version: b.Version}, what)
	end()
	if err != nil {
		return err
	}
	if c.Bool(jsonFlag) {
		return json.NewEncoder(c.App.Writer).Encode(map[string]any{
			"data_dir": config.DataDir, "member_id": fmt.Sprintf("%x", r.Member), "cluster_id": fmt.Sprintf("%x", r.Cluster),
			"revision": r.Revision, "changes": r.Changes, "leases": r.Leases, "users": r.Users, "roles": r.Roles,
			"ca_kept": r.CA, "certificate_holders": append([]string{}, r.Holders...),
		})
	}
	fmt.Fprintf(c.App.Writer, "Restored %d changes, %d leases, %d users and %d roles in %s: member %016x of the new cluster %016x, at revision %d: start it.\n",
		r.Changes, r.Leases, r.Users, r.Roles, config.DataDir, r.Member, r.Cluster, r.Revision)
	fmt.Fprintln(c.App.Writer, aboutCA(r))
	return nil
}

// tellProgress writes lines to the file descriptor, unless it is zero: how many
// bytes were read, and how many will be. It does so until end is called.
func tellProgress(fd int, what daemon.Restoring) (end func()) {
	info, err := os.Stat(what.File)
	if fd == 0 || err != nil { // the restore says what is wrong with the file
		return func() {}
	}
	to, stop := os.NewFile(uintptr(fd), "progress"), make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprintf(to, "%d %d\n", what.Read.Load(), info.Size()*what.Passes())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() { close(stop); telling.Wait() }
}

// argumentsLast lets people write restore FILE --flag, as etcdutl has it: the
// library reads no flag behind an argument.
func argumentsLast(args []string) []string {
	if len(args) < 2 || args[1] != "restore" {
		return args
	}
	alone := []string{compactFlag, skipHashFlag, jsonFlag, "help", "h"}
	var flags, words []string
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		name := strings.TrimLeft(rest[0], "-")
		switch {
		case rest[0] == "--":
			words, rest = append(words, rest[1:]...), rest[:1]
		case !strings.HasPrefix(rest[0], "-") || rest[0] == "-":
			words = append(words, rest[0])
		case strings.Contains(name, "=") || slices.Contains(alone, name) || len(rest) == 1:
			flags = append(flags, rest[0])
		default:
			flags, rest = append(flags, rest[0], rest[1]), rest[1:]
		}
	}
	return slices.Concat(args[:2], flags, []string{"--"}, words)
}
