// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/cleatd/cleat/api"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
	"github.com/cleatd/cleat/watch"
)

// stopLimit bounds a stop in order; whatever hangs longer is left behind.
const stopLimit = 2 * time.Second

// startLimit bounds the steps of a start that wait for agreement.
const startLimit = 30 * time.Second

// Options is what a daemon is given beside its settings.
type Options struct {
	Config  Config
	Reload  func() (Config, error) // reads the settings again, for SIGHUP; nil: none
	Level   *slog.LevelVar         // what the logger obeys; reload sets it
	Logger  *slog.Logger
	Version string

	faults faults
}

// faults stand between the member and its disk in tests. The zero value is
// none.
type faults struct {
	state vfs.FS
}

// Daemon is one running member.
type Daemon struct {
	config  Config
	reload  func() (Config, error)
	level   *slog.LevelVar
	log     *slog.Logger
	version string
	faults  faults

	registry *prometheus.Registry
	dir      *dataDir
	space    *space
	doors    *doors
	store    *kv.Store
	machine  *state.Machine
	node     *raft.Node
	hub      *watch.Hub
	keeper   *lease.Keeper
	pki      *pki.Authority
	server   *api.Server

	fatal chan error // one error that ends the member; the first teller wins

	stop context.CancelFunc // ends everything in work
	work *errgroup.Group    // what runs as long as the member
}

// Open starts a member: when it returns, the member leads its cluster and its
// doors are open. Each step stands where it does for the reason beside it. If
// one fails, what was opened is closed. Errors that the administrator can mend
// wrap ErrConfig.
func Open(ctx context.Context, o Options) (*Daemon, error) {
	d := &Daemon{
		config: o.Config, reload: o.Reload, level: o.Level, log: o.Logger, version: o.Version,
		faults:   o.faults,
		registry: prometheus.NewRegistry(),
		fatal:    make(chan error, 1),
	}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.work, run = errgroup.WithContext(run)

	steps := []struct {
		name string
		do   func() error
	}{
		{"take the data directory", d.takeDir},                            // first: nobody else may touch what follows
		{"open the doors", d.openDoors},                                   // early: callers queue instead of being refused
		{"open the state", d.openState},                                   // before the log, which replays into it
		{"join the agreement", d.openRaft},                                //
		{"follow the history", func() error { return d.startLocal(run) }}, // before leading, which needs lease and watch
		{"form the cluster", func() error { return d.form(ctx) }},         // the CA keeps its keys in the state
		{"open the certificates", func() error { return d.openPKI(ctx, run) }},
		{"serve", func() error { return d.serve(run) }}, // last: whoever gets in finds everything there
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			d.closeAfter()
			return nil, d.withRoom(fmt.Errorf("%s: %w", step.name, err))
		}
	}
	return d, nil
}

func (d *Daemon) takeDir() error {
	var err error
	if d.dir, err = openDataDir(d.config.DataDir, d.config.RaftLog); err != nil {
		return err
	}
	if d.space, err = newSpace(d.dir.path, d.config.ReserveBytes, d.log); err != nil {
		return err
	}
	if d.dir.fresh {
		d.log.Info("new data directory", "path", d.dir.path,
			"cluster", hexID(d.dir.clusterID()), "member", hexID(d.dir.memberID()))
	}
	return nil
}

func (d *Daemon) openDoors() (err error) {
	d.doors, err = openDoors(d.config)
	return err
}

func (d *Daemon) openState() error {
	var err error
	d.store, err = kv.Open(kv.Options{
		Dir: filepath.Join(d.dir.path, "state"), FS: d.faults.state,
		Logger: d.log, Registerer: d.registry, Fatal: d.fail,
	})
	if err != nil {
		return err
	}
	leases, err := lease.Load(state.LeaseReader(d.store), d.registry)
	if err != nil {
		return err
	}
	d.machine = state.New(state.Config{Store: d.store, Leases: leases, Logger: d.log, Fatal: d.fail})
	cluster, err := d.machine.Cluster()
	if err != nil {
		return err
	}
	if cluster != 0 && cluster != d.dir.clusterID() {
		return fmt.Errorf("%w: data directory %s: member.json names cluster %s, the state belongs to cluster %s",
			ErrConfig, d.dir.path, hexID(d.dir.clusterID()), hexID(cluster))
	}
	return nil
}

func (d *Daemon) openRaft() error {
	var err error
	d.node, err = raft.Open(raft.Config{
		Dir:             filepath.Join(d.dir.path, "raft"),
		Member:          d.dir.memberID(),
		Log:             d.config.RaftLog,
		Bootstrap:       d.machine.AppliedIndex() == 0,
		ElectionTimeout: d.config.ElectionTimeout,
		Logger:          d.log,
		Registerer:      d.registry,
		Fatal:           d.fail,
	}, machine{d.machine})
	if errors.Is(err, raft.ErrMember) {
		return fmt.Errorf("%w: data directory %s: member.json names another member than the log: %w", ErrConfig, d.dir.path, err)
	}
	if err != nil {
		return err
	}
	// The log fsyncs what is in its files. That the files exist must last as
	// well, before anything is acknowledged.
	return d.dir.syncNames()
}

// startLocal starts what follows the state on every member, and what the
// leader alone does.
func (d *Daemon) startLocal(run context.Context) error {
	d.hub = watch.NewHub(d.store, watch.Options{Logger: d.log, Registerer: d.registry})
	d.keeper = lease.NewKeeper(d.machine.Leases(), lease.KeeperOptions{
		Expire: d.proposeExpiry, Checkpoint: d.proposeCheckpoint, Logger: d.log, Registerer: d.registry,
	})
	d.keep(run, "watch", d.hub.Run)
	d.keep(run, "free disk", d.space.Run)
	d.keep(run, "leading", func(ctx context.Context) error { return d.node.Lead(ctx, d.lead) })
	d.keep(run, "watchdog", func(ctx context.Context) error { return watchdog(ctx, d.log, d.progress) })
	return nil
}

// keep runs a part of the member until run ends. A part that ends before that
// with an error ends the member, but not with ErrStopped: raft tells fail why
// it stopped, and that is the cause to show.
func (d *Daemon) keep(run context.Context, part string, fn func(context.Context) error) {
	d.work.Go(func() error {
		if err := fn(run); err != nil && run.Err() == nil && !errors.Is(err, raft.ErrStopped) {
			return fmt.Errorf("%s: %w", part, err)
		}
		return nil
	})
}

// lead runs while this member leads.
func (d *Daemon) lead(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.keeper.Run(ctx) })
	g.Go(func() error { return d.collect(ctx) })
	return g.Wait()
}

func (d *Daemon) progress() (committed, applied uint64) {
	s := d.node.Status()
	return s.Commit, s.Applied
}

// form names the cluster in the state, once in its life.
func (d *Daemon) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := d.awaitLeader(ctx); err != nil {
		return err
	}
	if cluster, err := d.machine.Cluster(); err != nil || cluster != 0 {
		return err
	}
	_, err := committed(d.node.Propose(ctx, state.FormCommand(d.dir.clusterID())))
	return err
}

// awaitLeader returns when there is a leader and this member's state is as new
// as its log was.
func (d *Daemon) awaitLeader(ctx context.Context) error {
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	for {
		err := d.node.Sync(ctx)
		if !errors.Is(err, raft.ErrNoLeader) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case err := <-d.fatal:
			return err
		case <-retry.C:
		}
	}
}

func (d *Daemon) openPKI(ctx, run context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var err error
	d.pki, err = pki.Open(ctx, pki.Config{
		Dir:       filepath.Join(d.dir.path, "pki"),
		ClusterID: d.dir.clusterID(),
		MemberID:  d.dir.memberID(),
		Name:      d.config.Name,
		Hosts:     d.hosts(),
		MemberTTL: d.config.CertTTL,
		Ledger:    ledger{d.node, d.machine},
		Logger:    d.log, Registerer: d.registry,
	})
	if mendable(err, pki.ErrClusterKey, pki.ErrName, pki.ErrTTL, pki.ErrFormat) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err != nil {
		return err
	}
	d.keep(run, "certificates", d.pki.Run)
	return nil
}

// mendable says whether an error is one that the administrator can mend.
func mendable(err error, sentinels ...error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// hosts are the names that this member's certificate must carry.
func (d *Daemon) hosts() []string {
	hosts := []string{d.config.Name, "localhost", "127.0.0.1", "::1"}
	if a := trimBrackets(d.config.Advertise); a != "" {
		hosts = append(hosts, a)
	}
	if host, _, err := net.SplitHostPort(d.config.clientAddress()); err == nil {
		if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
			hosts = append(hosts, host)
		}
	}
	return unique(hosts)
}

// trimBrackets takes an IPv6 literal out of the brackets that URLs need.
func trimBrackets(host string) string { return strings.Trim(host, "[]") }

func unique(values []string) []string {
	seen := make(map[string]bool)
	var out []string
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// closeAfter closes what a failed start has opened. Its own faults follow from
// the failure more often than not, and must not hide it.
func (d *Daemon) closeAfter() {
	if err := d.Close(); err != nil {
		d.log.Warn("closing after a failed start", "cause", err)
	}
}

// fail tells Run of what ends this member. The first cause is the one shown.
func (d *Daemon) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// Close ends the member in the reverse order of Open, the network first, so
// that nothing new arrives while the rest drains. It takes two seconds at most;
// what hangs longer is reported and left.
func (d *Daemon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.closeInOrder(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop: not done after %v; the log has everything that was acknowledged", stopLimit)
	}
}

func (d *Daemon) closeInOrder(ctx context.Context) error {
	var errs []error
	if d.server != nil {
		d.server.Stop(ctx)
	}
	if d.doors != nil {
		d.doors.Close()
	}
	d.stop() // leader work ends while proposals still pass
	errs = append(errs, d.work.Wait())
	if d.node != nil {
		errs = append(errs, d.node.Shutdown(ctx))
	}
	if d.store != nil {
		errs = append(errs, d.store.Close()) // after the log: nothing applies any more
	}
	if d.dir != nil {
		errs = append(errs, d.dir.Close()) // last: the directory is free for the next
	}
	return errors.Join(errs...)
}
