// SPDX-License-Identifier: Apache-2.0

// Bench measures cleat beside the real etcd, on one machine, in one run.
//
// Each contender is a fresh process, or a cluster of them, on fresh directories:
// cleat over mutual TLS, etcd over mutual TLS, etcd in plaintext, and the floor,
// a grpc-go server that does nothing. The floor shows what the client, gRPC and
// TLS cost alone.
// All are driven by etcd's own client/v3, and contenders take turns round by
// round, so that whatever else the machine does meets all of them.
//
// Client and contender share the machine's cores: the larger the client's part
// of the work, the closer the throughputs. The CPU time of the server's
// process for an operation is free of that.
//
//	make bench                              # one member, writes docs/bench
//	go run ./internal/bench -long           # what takes long, writes docs/bench/long
//	go run ./internal/bench -fair           # many large lists beside puts, writes docs/bench/fair
//	go run ./internal/bench -quick          # rough, in two minutes
//	go run ./internal/bench -run put        # one kind
//	go run ./internal/bench -members 3      # clusters; writes docs/bench/cluster
//
// A scene is a process's life; measures are what happens in it; a phase is one
// measure's window of time. Bench imports nothing of cleat's: it knows the two
// programs only from outside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(floorVariable) != "" {
		exit(serveFloor(os.Args[1:]))
	}
	if os.Getenv(listersVariable) != "" {
		exit(list(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	defer stop()
	exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// interrupts end a run in order. Under nohup a hangup is none.
func interrupts() []os.Signal {
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

func exit(err error) {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// settings are what the flags say.
type settings struct {
	cleatd, cleatctl, etcd string
	out                    string
	only, who              *regexp.Regexp // measures, contenders
	rounds                 int
	keys                   int // of the storage and stalled measures
	warm, length           time.Duration
	settle                 time.Duration // how long to wait for freed space
	quick                  bool
	long                   bool // leases and a stalled watcher, instead of the rest
	fair                   bool // many large lists, instead of the rest
	members                int  // of a cluster
}

// parse reads the flags. A partial or rough run never replaces the published
// figures unless it is told to.
func parse(args []string) (settings, error) {
	s := settings{keys: 1_000_000, warm: time.Second, settle: time.Minute}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.cleatd, "cleatd", "bin/cleatd", "the cleatd to measure")
	flags.StringVar(&s.cleatctl, "cleatctl", "bin/cleatctl", "the cleatctl that issues its client's certificate")
	flags.StringVar(&s.etcd, "etcd", ".build/peers/etcd", "the etcd to compare with")
	flags.StringVar(&s.out, "out", "", "where to write bench.json, bench.md and bench.svg (default docs/bench; .build/bench when not everything is measured)")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each measure runs; medians are shown")
	flags.IntVar(&s.members, "members", 1, "measure clusters of `N` members, with measures of their own, into docs/bench/cluster")
	flags.BoolVar(&s.quick, "quick", false, "one round of one-second phases and 100,000 keys")
	flags.BoolVar(&s.long, "long", false, "measure the lives of leases and a watcher that stops reading, which take long, into docs/bench/long")
	flags.BoolVar(&s.fair, "fair", false, "measure what 50 clients that list 100 MB each cost those who put, under "+memoryLimit+", into docs/bench/fair")
	only := flags.String("run", "", "only the measures that this regexp matches")
	who := flags.String("contender", "", "only the contenders that this regexp matches")
	seconds := flags.Float64("seconds", 4, "the length of a phase")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if s.quick {
		s.rounds, s.keys, *seconds, s.warm, s.settle = 1, 100_000, 1, 200*time.Millisecond, 12*time.Second
	}
	if s.rounds < 1 || *seconds <= 0 {
		return settings{}, errors.New("-rounds and -seconds must be above 0")
	}
	s.length = time.Duration(*seconds * float64(time.Second))
	if s.members < 1 {
		return settings{}, errors.New("-members must be above 0")
	}
	if (s.long || s.fair) && s.members > 1 {
		return settings{}, errors.New("-long and -fair measure one member: leave -members out")
	}
	if s.out == "" {
		s.out = filepath.Join("docs", "bench")
		if s.quick || *only != "" || *who != "" {
			s.out = filepath.Join(".build", "bench")
		}
		if s.members > 1 {
			s.out = filepath.Join(s.out, "cluster")
		}
		if s.long {
			s.out = filepath.Join(s.out, "long")
		}
		if s.fair {
			s.out = filepath.Join(s.out, "fair")
		}
	}
	var err error
	if s.who, err = regexp.Compile(*who); err != nil {
		return settings{}, fmt.Errorf("-contender: %w", err)
	}
	if s.only, err = regexp.Compile(*only); err != nil {
		return settings{}, fmt.Errorf("-run: %w", err)
	}
	return s, nil
}

// scratch makes a directory for the members' data beside what was built: where
// temporary files lie is memory on many machines, and there fsync costs nothing.
func scratch() (string, error) {
	within, err := filepath.Abs(".build")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(within, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(within, "bench-")
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	// The client's collector takes cores from whoever is measured.
	debug.SetGCPercent(400)
	root, err := scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)

	everyone, err := contenders(s, root)
	if err != nil {
		return err
	}
	everyone = slices.DeleteFunc(everyone, func(c contender) bool { return !s.who.MatchString(c.name) })
	report := newReport(ctx, s)
	b := bench{settings: s, root: root, contenders: everyone, log: stderr}
	failed := b.everything(ctx, report)
	if ctx.Err() != nil {
		failed = context.Cause(ctx)
	}
	report.sort(s.scenes())
	report.compare()
	fmt.Fprint(stdout, report.text())
	if failed != nil {
		return fmt.Errorf("stopped early, nothing written: %w", failed)
	}
	return report.write(s.out)
}

func (b bench) everything(ctx context.Context, report *report) error {
	if b.fair {
		return b.crowds(ctx, report)
	}
	if b.long {
		if err := b.leaseLives(ctx, report); err != nil {
			return err
		}
		return b.stalled(ctx, report)
	}
	if err := b.play(ctx, b.scenes(), report); err != nil || b.members > 1 {
		return err
	}
	if err := b.storage(ctx, report); err != nil {
		return err
	}
	return b.backups(ctx, report)
}
