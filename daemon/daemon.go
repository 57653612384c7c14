// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	adminserver "github.com/cleatd/cleat/admin/server"
	"github.com/cleatd/cleat/api"
	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/peer"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/pki/ca"
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

	newest uint32        // the newest format that this version reads; zero: state.Format
	limit  time.Duration // of a stop in order; zero: stopLimit
	faults faults
}

// faults stand between the member and its disk in tests, and between it and
// what it is told. The zero value is none.
type faults struct {
	state vfs.FS
	kv    func(*kv.Options)
	raft  func(*raft.Config)
	stays bool // when it is removed
}

// Daemon is one running member.
type Daemon struct {
	current atomic.Pointer[configured]
	reload  func() (Config, error)
	level   *slog.LevelVar
	log     *slog.Logger
	version string
	newest  uint32
	limit   time.Duration // of a stop in order
	faults  faults
	begins  beginning
	goLimit int64 // bytes that GOMEMLIMIT leaves to Go's collector
	memory  int64 // bytes that the member may take; of Open and Run alone

	registry   *prometheus.Registry
	dir        *dataDir
	space      *space
	quota      *quota
	doors      *doors
	store      *kv.Store
	machine    *state.Machine
	node       *raft.Node
	hub        *watch.Hub
	keeper     *lease.Keeper
	peers      *peer.Door // nil: the peer door is closed
	pki        *pki.Authority
	comparison *comparison
	office     *adminserver.Server // tells how this member is; made by openPeers
	server     *api.Server
	ca         *ca.Door
	passwords  *auth.Passwords
	spans      *sdktrace.TracerProvider // nil: nothing is traced
	sampler    sampler

	fatal     chan error    // one error that ends the member; the first teller wins
	joining   sync.Mutex    // held by whoever has this member join a cluster
	saving    chan struct{} // holds one while a snapshot is made
	raising   atomic.Bool   // a request that was refused raises the alarm
	removals  sync.Mutex    // held by the leader while it removes a member
	removing  sync.RWMutex  // held for reading by whoever removes a member
	dismissed atomic.Bool   // this member was removed
	anew      chan rebirth  // holds one: the member is to end and begin anew

	hangup  chan os.Signal         // SIGHUP, from Open on
	reloads chan chan<- outcome    // who asks for a reload, and is told of it
	moved   chan moved             // doors that a reload has opened
	refused atomic.Pointer[string] // why the last reload was refused; nil: it was not

	stop context.CancelFunc // ends everything in work
	work sync.WaitGroup     // what runs as long as the member
}

// Open starts a member: when it returns, the member leads its cluster and its
// doors are open. Each step stands where it does for the reason beside it. If
// one fails, what was opened is closed. Errors that the administrator can mend
// wrap ErrConfig.
func Open(ctx context.Context, o Options) (*Daemon, error) {
	d := newDaemon(o)
	signal.Notify(d.hangup, syscall.SIGHUP) // one that comes early is for Run, and ends nothing
	defer d.begins.told(o.Logger, tellEvery)()
	err := d.take([]step{
		{"take the data directory", d.takeDir}, // first: nobody else may touch what follows
		{"join a cluster", func() error { return d.joinAsTold(ctx) }},
		{"open the doors", d.openDoors}, // early: callers queue instead of being refused
	})
	if err == nil {
		err = d.begin(ctx)
	}
	if err != nil {
		d.tellEnd(ctx, err)
		d.closeAfter()
		return nil, err
	}
	return d, nil
}

func newDaemon(o Options) *Daemon {
	d := &Daemon{
		reload: o.Reload, level: o.Level, log: o.Logger, version: o.Version,
		newest: cmp.Or(o.newest, state.Format), limit: cmp.Or(o.limit, stopLimit), faults: o.faults,
		stop:  func() {},
		fatal: make(chan error, 1), anew: make(chan rebirth, 1), saving: make(chan struct{}, 1),
		hangup: make(chan os.Signal, 1), reloads: make(chan chan<- outcome), moved: make(chan moved),
		goLimit: debug.SetMemoryLimit(-1),
	}
	d.current.Store(&configured{Config: o.Config, replaced: make(chan struct{})})
	return d
}

// configured are the settings that count, until replaced is closed.
type configured struct {
	Config
	replaced chan struct{}
}

// config returns the settings that count now. They do not change, others take
// their place.
func (d *Daemon) config() *Config { return &d.current.Load().Config }

type step struct {
	name string
	do   func() error
}

func (d *Daemon) take(steps []step) error {
	for _, s := range steps {
		d.begins.step.Store(&s.name)
		if err := s.do(); err != nil {
			return d.withRoom(fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return nil
}

// begin makes the data directory a running member.
func (d *Daemon) begin(ctx context.Context) error {
	d.registry = prometheus.NewRegistry()
	d.comparison = newComparison(d.registry)
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	return d.take([]step{
		{"place the doors", d.placeDoors},
		{"open the state", d.openState},                                   // before the log, which replays into it
		{"know whose state it is", d.checkCluster},                        //
		{"know who this is", d.openKnown},                                 // before the others are met, who ask
		{"join the agreement", d.openRaft},                                //
		{"meet the others", d.openKnownPeers},                             // before there can be a leader
		{"tell how it is", d.openMetrics},                                 // of what has just been opened
		{"follow the history", func() error { return d.startLocal(run) }}, // before leading, which needs lease and watch
		{"form the cluster", func() error { return d.form(ctx) }},         // the CA keeps its keys in the state
		{"open the certificates", func() error { return d.openCertificates(ctx) }},
		{"trace requests", func() error { return d.openTracing(run) }},
		{"serve", func() error { return d.serve(run) }}, // last: whoever gets in finds everything there
	})
}

func (d *Daemon) takeDir() error {
	var err error
	if d.dir, err = openDataDir(d.config().DataDir, d.config().RaftLog); err != nil {
		return err
	}
	if d.space, err = newSpace(d.dir.path, d.config().ReserveBytes, d.log); err != nil {
		return err
	}
	if d.dir.fresh {
		d.log.Info("new data directory", "path", d.dir.path,
			"cluster", hexID(d.dir.clusterID()), "member", hexID(d.dir.memberID()))
	}
	return nil
}

func (d *Daemon) openDoors() (err error) {
	d.doors, err = openDoors(*d.config())
	return err
}

func (d *Daemon) placeDoors() error {
	return d.doors.place(d.config().places(d.advertised()))
}

// advertised is the host by which others reach this member, "" if they do not.
func (d *Daemon) advertised() string { return d.advertisedBy(d.config()) }

func (d *Daemon) advertisedBy(c *Config) string {
	return cmp.Or(c.Advertise, d.dir.member.Advertise)
}

func (d *Daemon) openState() error {
	o := kv.Options{
		Dir: filepath.Join(d.dir.path, "state"), FS: d.faults.state,
		Logger: d.log, Registerer: d.registry, Fatal: d.fail,
	}
	if d.faults.kv != nil {
		d.faults.kv(&o)
	}
	var err error
	if d.store, err = kv.Open(o); err != nil {
		return d.unfit(err)
	}
	d.quota = newQuota(d.config().QuotaBytes, func() int64 { total, _ := d.store.Size(); return total }, d.log)
	leases, err := lease.Load(state.LeaseReader(d.store), d.registry)
	if err != nil {
		return err
	}
	tokens := auth.NewTokens(d.config().tokenTTL())
	d.machine = state.New(state.Config{
		Store: d.store, Leases: leases, Tokens: tokens, Newest: d.newest, Logger: d.log, Fatal: d.fail,
	})
	applied := d.machine.AppliedIndex
	d.begins.applied.Store(&applied)
	if err := d.machine.Readable(); err != nil {
		return fmt.Errorf("%w: data directory %s: %w", ErrConfig, d.dir.path, err)
	}
	d.keeper = lease.NewKeeper(leases, lease.KeeperOptions{
		Confirm: d.confirm, Expire: d.proposeExpiry, Checkpoint: d.proposeCheckpoint, Logger: d.log, Registerer: d.registry,
	})
	return nil
}

func (d *Daemon) checkCluster() error {
	cluster, err := d.machine.Cluster()
	if err != nil {
		return err
	}
	if cluster != 0 && cluster != d.dir.clusterID() {
		return fmt.Errorf("%w: data directory %s: member.json names cluster %s, the state belongs to cluster %s: "+
			"if cleatd recover was cut short, give the same command again",
			ErrConfig, d.dir.path, hexID(d.dir.clusterID()), hexID(cluster))
	}
	return nil
}

func (d *Daemon) openRaft() error {
	c := raft.Config{
		Dir:             filepath.Join(d.dir.path, "raft"),
		Member:          d.dir.memberID(),
		Log:             d.config().RaftLog,
		Bootstrap:       d.machine.AppliedIndex() == 0 && d.dir.member.Joined == nil,
		ElectionTimeout: d.config().ElectionTimeout,
		Asked:           d.asked,
		Removed:         d.removed,
		Logger:          d.log,
		Registerer:      d.registry,
		Fatal:           d.fail,
	}
	if address := d.peerAddress(); address != "" {
		d.peers = peer.New(d.log, d.registry)
		c.Network, c.Address = d.peers, address
	}
	if d.faults.raft != nil {
		d.faults.raft(&c)
	}
	var err error
	d.node, err = raft.Open(c, machine{d.machine})
	if err != nil {
		return d.unfit(err)
	}
	// The log fsyncs what is in its files. That the files exist must last as
	// well, before anything is acknowledged.
	return d.dir.syncNames()
}

// startLocal starts what follows the state on every member, and what the
// leader alone does.
func (d *Daemon) startLocal(run context.Context) error {
	d.hub = watch.NewHub(d.store, watch.Options{Logger: d.log, Registerer: d.registry})
	d.keep(run, "watch", d.hub.Run)
	d.keep(run, "free disk", d.space.Run)
	d.keep(run, "room", d.watchRoom)
	d.keep(run, "history", d.giveUpHistory)
	d.keep(run, "arrival", d.arrive)
	d.keep(run, "tokens", d.machine.Tokens().Run)
	d.keep(run, "own row", d.announce)
	d.keep(run, "leading", func(ctx context.Context) error { return d.node.Lead(ctx, d.lead) })
	d.keep(run, "status", d.tellStatus)
	d.keep(run, "watchdog", func(ctx context.Context) error { return watchdog(ctx, d.log, d.progress) })
	return nil
}

// keep runs a part of the member until run ends. A part that ends before that
// with an error ends the member, but not with ErrStopped: raft tells fail why
// it stopped, and that is the cause to show.
func (d *Daemon) keep(run context.Context, part string, fn func(context.Context) error) {
	d.work.Go(func() {
		if err := fn(run); err != nil && run.Err() == nil && !errors.Is(err, raft.ErrStopped) {
			d.fail(fmt.Errorf("%s: %w", part, err))
		}
	})
}

func (d *Daemon) progress() (committed, applied uint64) {
	s := d.node.Status()
	return s.Commit, s.Applied
}

// form names the cluster in the state, once in its life. A member of several
// may not be able to wait for a leader: the others may be down.
func (d *Daemon) form(ctx context.Context) error {
	if d.amongSeveral() {
		return nil
	}
	ctx, cancel := d.whileMoving(ctx)
	defer cancel()
	if err := d.awaitLeader(ctx); err != nil {
		return err
	}
	if cluster, err := d.machine.Cluster(); err != nil || cluster != 0 {
		return err
	}
	if _, err := committed(d.node.Propose(ctx, state.FormCommand(d.dir.clusterID()))); err != nil {
		return err
	}
	return d.introduce(ctx)
}

// amongSeveral says that this member is not alone, or soon will not be.
func (d *Daemon) amongSeveral() bool {
	members := d.node.Members()
	return len(members) > 1 || len(members) == 0 && d.dir.member.Joined != nil
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
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case err := <-d.fatal:
			return err
		case <-retry.C:
		}
	}
}

// openKnown opens the certificates of a member that has some, without the
// others: they may be waiting for this member's door.
func (d *Daemon) openKnown() error {
	if !d.known() {
		return nil
	}
	return d.openPKI(context.Background(), true)
}

// openKnownPeers lets the others in, if there is something to show them.
func (d *Daemon) openKnownPeers() error {
	if d.pki != nil {
		d.openPeers()
	}
	return nil
}

// openCertificates makes the CA, at the first start.
func (d *Daemon) openCertificates(ctx context.Context) error {
	if d.pki != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := d.openPKI(ctx, false); err != nil {
		return err
	}
	d.openPeers()
	return nil
}

func (d *Daemon) pkiDir() string { return filepath.Join(d.dir.path, "pki") }

// known says whether this member has been opened with its certificates before.
func (d *Daemon) known() bool {
	_, err := os.Stat(filepath.Join(d.pkiDir(), "ca.json"))
	return err == nil
}

func (d *Daemon) openPKI(ctx context.Context, offline bool) error {
	key, err := credential(keyCredential)
	if err != nil {
		return err
	}
	d.pki, err = pki.Open(ctx, pki.Config{
		Dir:       d.pkiDir(),
		ClusterID: d.dir.clusterID(),
		MemberID:  d.dir.memberID(),
		Name:      d.config().Name,
		Hosts:     d.config().hosts(d.told(d.config())),
		MemberTTL: d.config().CertTTL,
		Offline:   offline,
		Removed:   d.machine.Removed,

		Credential: key,
		Members:    d.memberIDs,
		FetchKey:   d.fetchKey,

		Ledger:  ledger{d},
		Replica: replica{d.machine},
		Logger:  d.log, Registerer: d.registry,
	})
	if mendable(err, pki.ErrClusterKey, pki.ErrLocked, pki.ErrName, pki.ErrTTL, pki.ErrFormat) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return err
}

// mendable says whether an error is one that the administrator can mend.
func mendable(err error, sentinels ...error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// hosts are the names that this member's certificate must carry.
func (c *Config) hosts(advertised string) []string {
	hosts := []string{c.Name, "localhost", "127.0.0.1", "::1"}
	if a := trimBrackets(advertised); a != "" {
		hosts = append(hosts, a)
	}
	if host, _, err := net.SplitHostPort(c.clientAddress(advertised)); err == nil {
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
