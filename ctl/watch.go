// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "print changes as they happen",
		ArgsUsage: "[KEY [RANGE_END]] [-- COMMAND ARG...]",
		Description: `Prints PUT or DELETE, the key and the value of each change. COMMAND runs once
for each, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and
ETCD_WATCH_VALUE in its environment. KEY and RANGE_END can also be given as
CLEATCTL_WATCH_KEY and CLEATCTL_WATCH_RANGE_END. With -i, lines of standard
input start watches ("watch KEY [--prefix] [--rev=N]") or ask how far they
are ("progress").

Examples:
  cleatctl watch /dc/ --prefix
  cleatctl watch config --rev=1 -- systemctl reload nginx`,
		Flags:  watchFlags(),
		Action: watch,
	}
}

func watchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
		&cli.Int64Flag{Name: "rev", Usage: "start with the changes of revision `REV`"},
		&cli.BoolFlag{Name: "prev-kv", Usage: "show what the key held before"},
		&cli.BoolFlag{Name: "progress-notify", Usage: "tell now and then how far the watch is"},
		&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "read watches from standard input"},
	}
}

// watched is one watch: where, how, and what to run on each change.
type watched struct {
	key     string
	options []clientv3.OpOption
	command []string
}

func watch(c *cli.Context) error {
	if c.Bool("interactive") {
		return watchInteractively(c)
	}
	w, err := readWatch(c)
	if err != nil {
		return err
	}
	s, err := open(c, keyForms, chooseDoor)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.follow(w); err != nil {
		return err
	}
	return errors.New("the member ended the watch: start it again with --rev at the next revision to miss nothing")
}

// readWatch takes the arguments apart: what to watch stands before the
// separator or in the environment, not in both, and a command behind it.
func readWatch(c *cli.Context) (watched, error) {
	var w watched
	args := c.Args().Slice()
	if at := slices.Index(args, separator); at >= 0 {
		w.command, args = args[at+1:], args[:at]
		if len(w.command) == 0 {
			return w, misuse("watch needs a COMMAND behind --")
		}
	}
	args, err := addWatchEnvironment(args)
	if err != nil {
		return w, err
	}
	if len(args) < 1 || len(args) > 2 {
		return w, misuse("watch needs KEY, or KEY and RANGE_END")
	}
	if len(args) == 2 && c.Bool("prefix") {
		return w, misuse("with --prefix give KEY alone, without RANGE_END")
	}
	w.key, w.options = args[0], watchOptions(c, args)
	return w, nil
}

func addWatchEnvironment(args []string) ([]string, error) {
	key, variable, _ := environment("watch-key")
	end, endVariable, _ := environment("watch-range-end")
	switch {
	case key == "" && end != "":
		return nil, misuse("%s is set without CLEATCTL_WATCH_KEY", endVariable)
	case key == "":
		return args, nil
	case len(args) > 0:
		return nil, misuse("give the key as argument or in %s, not both", variable)
	case end == "":
		return []string{key}, nil
	}
	return []string{key, end}, nil
}

func watchOptions(c *cli.Context, args []string) []clientv3.OpOption {
	options := []clientv3.OpOption{clientv3.WithRev(c.Int64("rev"))}
	if len(args) == 2 {
		options = append(options, clientv3.WithRange(args[1]))
	}
	if c.Bool("prefix") {
		options = append(options, clientv3.WithPrefix())
	}
	if c.Bool("prev-kv") {
		options = append(options, clientv3.WithPrevKV())
	}
	if c.Bool("progress-notify") {
		options = append(options, clientv3.WithProgressNotify())
	}
	return options
}

// follow prints a watch's changes until the member ends it.
func (s *session) follow(w watched) error {
	ctx := clientv3.WithRequireLeader(s.c.Context)
	for r := range s.Watch(ctx, w.key, w.options...) {
		if r.Canceled {
			return fmt.Errorf("watch was canceled (%w)", r.Err())
		}
		if r.IsProgressNotify() {
			if err := s.out.say("progress notify: %d", r.Header.GetRevision()); err != nil {
				return err
			}
		}
		if err := s.out.print(watchAnswer(&r)); err != nil {
			return err
		}
		if err := s.runOnEach(ctx, w.command, &r); err != nil {
			return err
		}
	}
	return nil
}

// runOnEach runs the command for each change, one after the other.
func (s *session) runOnEach(ctx context.Context, command []string, r *clientv3.WatchResponse) error {
	if len(command) == 0 {
		return nil
	}
	for _, event := range r.Events {
		run := exec.CommandContext(ctx, command[0], command[1:]...)
		run.Stdout, run.Stderr = s.c.App.Writer, s.c.App.ErrWriter
		run.Env = append(os.Environ(),
			fmt.Sprintf("ETCD_WATCH_REVISION=%d", r.Header.GetRevision()),
			fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", event.GetType()),
			fmt.Sprintf("ETCD_WATCH_KEY=%q", event.GetKv().GetKey()),
			fmt.Sprintf("ETCD_WATCH_VALUE=%q", event.GetKv().GetValue()))
		if err := run.Run(); err != nil {
			return fmt.Errorf("run %q: %w", command, err)
		}
	}
	return nil
}

func watchAnswer(r *clientv3.WatchResponse) answer {
	return answer{
		json: r,
		message: &pb.WatchResponse{
			Header: r.Header, Events: r.Events, CompactRevision: r.CompactRevision, Canceled: r.Canceled, Created: r.Created,
		},
		simple: func(p *printer) {
			for _, event := range r.Events {
				p.linef("%s", event.GetType())
				if event.GetPrevKv() != nil {
					p.pair(event.GetPrevKv())
				}
				p.pair(event.GetKv())
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			for _, event := range r.Events {
				p.linef(`"Type" : %s`, event.GetType())
				if event.GetPrevKv() != nil {
					p.record("Prev", event.GetPrevKv())
				}
				p.record("", event.GetKv())
			}
		},
	}
}
