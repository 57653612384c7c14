// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	hraft "github.com/hashicorp/raft"
)

// Node is this member's part in the agreement. All methods may be called
// concurrently.
type Node struct {
	config  Config
	id      hraft.ServerID // config.Member, as hraft knows it
	machine Machine
	metrics *metrics

	raft     *hraft.Raft
	disk     *disk
	beside   atomic.Bool // the disk's tail is being written
	labels   *labels
	closers  []io.Closer // what Open opened, oldest first
	applier  *applier
	progress *progress

	line      *line
	submitted chan submission // to collect
	reign     *reign
	rounds    *rounds
	remote    *rounds // with the leader, where another leads
	relay     *relay
	confirmer atomic.Uint64 // who was the last to confirm that this member leads
	alone     func() bool   // soleVoter

	transport *transport    // nil without a network
	hints     hints         // where members are that moved
	changing  chan struct{} // holds one: a change of the configuration is under way
	dismissed sync.Once
	moved     atomic.Pointer[string] // where this member is reached; nil: at config.Address; written by Move
	callers   crowd                  // of Propose, where there are other members
	guests    crowd                  // other members who hand over proposals
	life      context.Context        // of everything that asks other members; ends with stopping
	die       context.CancelFunc

	elections chan bool              // hraft tells: this member leads, or no longer
	leaders   chan hraft.Observation // hraft tells: there is another leader
	crowded   chan struct{}          // holds one: the log has grown enough for a label

	labeling     chan struct{} // holds one: a label is being moved, or has to stay
	sending      atomic.Int32  // checkpoints on their way to others
	arriving     chan struct{} // holds one: a checkpoint is coming in
	installation *installation
	visitors     crowd // who bring checkpoints

	opened   bool                  // Open is past its checks: failures are Config.Fatal's too
	failure  atomic.Pointer[error] // why nothing is acknowledged any more
	stopping chan struct{}         // closed by the first of fail and Shutdown
	stopOnce sync.Once
	finished chan struct{} // closed by Shutdown when hraft is done
	stopped  chan struct{} // closed by Shutdown when all is done
	shutdown sync.Once
	stopErr  error // what Shutdown returns; valid once stopped is closed

	questions sync.WaitGroup // the goroutine that asks the other members
	work      sync.WaitGroup // the other goroutines that start began, but for collect
}

// Open starts the member from Config.Dir. It refuses, naming the file and the
// numbers, what it could only start by losing something: damage, a log of the
// other kind, a log or a vote that is missing, a machine that is older than
// the label or newer than the log.
//
// A member that is the only voter holds an election at once; Sync returns when
// it leads and its state is as new as its log.
func Open(config Config, machine Machine) (_ *Node, err error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	n := newNode(config, machine)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.closeNetwork(), n.closeFiles())
		}
	}()
	stable, err := n.openFiles()
	if err != nil {
		return nil, err
	}
	if err := n.openRaft(stable); err != nil {
		return nil, err
	}
	if err := n.metrics.register(config.Registerer); err != nil {
		return nil, errors.Join(err, n.raft.Shutdown().Error())
	}
	n.start()
	return n, nil
}

func newNode(config Config, machine Machine) *Node {
	n := &Node{
		config: config, id: serverID(config.Member), machine: machine,
		line: newLine(), submitted: make(chan submission, 16),
		reign: newReign(), rounds: newRounds(), remote: newRounds(), relay: newRelay(), changing: make(chan struct{}, 1), progress: &progress{},
		elections: make(chan bool, 16), leaders: make(chan hraft.Observation, 16),
		crowded:  make(chan struct{}, 1),
		labeling: make(chan struct{}, 1), arriving: make(chan struct{}, 1),
		stopping: make(chan struct{}), finished: make(chan struct{}), stopped: make(chan struct{}),
	}
	n.life, n.die = context.WithCancel(context.Background())
	n.alone = n.soleVoter
	if config.faults.alone != nil {
		n.alone = config.faults.alone
	}
	n.metrics = newMetrics(n)
	return n
}

// openFiles opens the stores and checks that they belong together.
func (n *Node) openFiles() (*votes, error) {
	c := &n.config
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("raft: make directory: %w", err)
	}
	if err := refuseOther(c); err != nil {
		return nil, err
	}
	held := n.machine.AppliedIndex()
	if err := refuseMissing(c, held); err != nil {
		return nil, damaged(err)
	}
	stable, err := openStable(c)
	if err != nil {
		return nil, damaged(err)
	}
	n.closers = append(n.closers, stable)
	log, err := openLog(c)
	if err != nil {
		return nil, damaged(err)
	}
	n.closers = append(n.closers, log)
	if n.labels, err = openLabels(labelsPath(c), n.fail); err != nil {
		return nil, err
	}
	if c.faults.put != nil {
		n.labels.put = c.faults.put
	}
	n.installation = &installation{
		intent: filepath.Join(c.Dir, installingFile), reason: filepath.Join(c.Dir, installedFile),
		put: n.labels.put, remove: removeDurably, rename: renameDurably,
	}
	if c.faults.remove != nil {
		n.installation.remove, n.installation.rename = c.faults.remove, c.faults.rename
	}
	n.labels.installation, n.labels.pack = n.installation, n.pack
	n.disk = &disk{
		store: log, files: logFiles{logPath(c)}, watch: n.metrics, fail: n.fail, grew: n.grown,
		tail: tail{more: make(chan struct{}, 1)}, ahead: n.writesBeside,
	}
	v := &votes{StableStore: stable, path: stablePath(c), fail: n.fail}
	n.disk.begin = func() error {
		err := v.SetUint64(keyMember, c.Member)
		if err == nil {
			err = n.installation.begun()
		}
		if err != nil {
			n.fail(err)
		}
		return err
	}
	if err := n.installation.settle(n.disk, n.labels, held); err != nil {
		return nil, damaged(fmt.Errorf("raft: %w", err))
	}
	return v, damaged(checkTogether(c, n.disk, v, n.labels, held))
}

func (n *Node) openRaft(stable *votes) error {
	held := n.machine.AppliedIndex()
	n.progress.applied.Store(held)
	n.applier = &applier{
		machine: n.machine, line: n.line, progress: n.progress, install: n.install,
		failed: n.failed, fail: n.fail, id: n.id, leave: n.dismiss, settled: n.disk.settledTo,
	}
	n.applier.held.Store(held)
	labels, err := n.labels.List()
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	for _, m := range labels {
		n.applier.configure(m.Configuration, m.ConfigurationIndex)
		n.applier.last = position{m.Index, m.Term}
	}
	h := n.config.hraftConfig()
	h.NotifyCh = n.elections
	// checkTogether has refused a machine that is older than the newest label,
	// so there is never a state to restore from it.
	h.NoSnapshotRestoreOnStart = true
	transport := n.openTransport()
	if n.transport != nil {
		n.applier.committed = n.spread
	}
	if n.config.Bootstrap {
		if err := bootstrap(n, h, stable, transport); err != nil {
			return err
		}
	}
	n.opened = true                         // before hraft's goroutines begin
	err = panicAsError(func() (err error) { // hraft panics when it cannot save its term
		n.raft, err = hraft.NewRaft(h, n.applier, n.disk, stable, n.labels, transport)
		return err
	})
	if err != nil {
		return fmt.Errorf("raft: start: %w", err)
	}
	if n.transport != nil {
		n.transport.voter.Store(n.raft)
	}
	return n.checkMembership()
}

// checkMembership refuses a log that is another member's.
func (n *Node) checkMembership() error {
	servers := n.raft.GetConfiguration().Configuration().Servers
	if len(servers) == 0 || n.config.Network != nil {
		return nil // its log may not reach yet to where it was added
	}
	for _, s := range servers {
		if s.ID == n.id {
			return nil
		}
	}
	return errors.Join(
		fmt.Errorf("%w: the log in %s is of a cluster of which member %s is not a part", ErrMember, n.config.Dir, n.id),
		n.raft.Shutdown().Error())
}

func (n *Node) start() {
	isLeader := func(o *hraft.Observation) bool { _, ok := o.Data.(hraft.LeaderObservation); return ok }
	n.raft.RegisterObserver(hraft.NewObserver(n.leaders, false, isLeader))
	n.work.Go(func() { n.disk.writeTail(n.finished) })
	n.beside.Store(true)
	n.work.Go(n.follow)
	n.work.Go(n.herald)
	go n.collect() // hraft may never answer it
	n.work.Go(n.submitWaiting)
	n.work.Go(n.label)
	n.questions.Go(func() { n.rounds.serve(n.stopping, n.confirmed) })
	n.elect()
	if n.config.Network == nil {
		return
	}
	n.questions.Go(func() { n.remote.serve(n.stopping, n.remoteIndex) })
	n.questions.Go(n.relayAll)
	n.questions.Go(n.greet)
	n.questions.Go(n.watchDisk)
	n.questions.Go(func() {
		<-n.stopping
		if n.failed() != nil { // who acknowledges nothing leads nobody
			if err := n.closeNetwork(); err != nil {
				n.config.Logger.Warn("raft: network not closed", "err", err)
			}
		}
	})
}

// elect makes the only voter the leader at once. Its timeouts were a hair too
// long until now, and hraft's main loop answers a shorter one by looking for a
// leader without delay. A member of several would only disturb the others.
func (n *Node) elect() {
	if !n.alone() {
		return
	}
	reload := n.raft.ReloadableConfig()
	reload.ElectionTimeout = n.config.ElectionTimeout
	reload.HeartbeatTimeout = n.config.ElectionTimeout
	if err := n.raft.ReloadConfig(reload); err != nil {
		n.config.Logger.Warn("raft: first election not hastened", "err", err)
	}
}

// fail ends this member's part: nothing is acknowledged from here on. The
// first reason counts.
func (n *Node) fail(err error) {
	if !n.failure.CompareAndSwap(nil, &err) {
		return
	}
	n.halt()
	n.line.abandon(n.stopReason())
	if !n.opened {
		return // Open returns it
	}
	n.config.Logger.Error("raft: member stops", "err", err)
	// Not joined: it may call Shutdown, which waits for everything that is.
	go n.config.Fatal(err)
}

// halt ends all waiting.
func (n *Node) halt() {
	n.stopOnce.Do(func() {
		close(n.stopping)
		n.die()
	})
}

// closeNetwork ends all talk with the others.
func (n *Node) closeNetwork() error {
	switch {
	case n.transport != nil:
		return n.transport.Close()
	case n.config.Network != nil:
		return n.config.Network.Close()
	}
	return nil
}

func (n *Node) failed() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// ended returns stopReason once the member is stopping or has failed: it may
// lead, and be alone, for a moment longer.
func (n *Node) ended() error {
	select {
	case <-n.stopping:
		return n.stopReason()
	default:
		return nil
	}
}

// stopReason is what callers get who come too late.
func (n *Node) stopReason() error {
	if err := n.failed(); err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return ErrStopped
}

// Status is a member's view of the agreement at one moment.
type Status struct {
	Member, Leader  uint64 // Leader is zero when none is known
	Term            uint64
	Commit, Applied uint64 // indexes; Applied is at least the machine's
	First, Last     uint64 // of the log
	Learner         bool   // takes part without a vote, or not yet
}

// Status never waits.
func (n *Node) Status() Status {
	_, leader := n.raft.LeaderWithID()
	s := Status{
		Member: n.config.Member, Leader: memberOf(leader), Term: n.raft.CurrentTerm(),
		Commit: n.committed(), Applied: n.progress.applied.Load(), Last: n.raft.LastIndex(),
	}
	if first, err := n.disk.FirstIndex(); err == nil { // a closed log has none
		s.First = first
	}
	self, known := n.server(n.config.Member)
	s.Learner = !known || self.Suffrage != hraft.Voter
	return s
}

// memberOf is serverID's inverse; zero for no member.
func memberOf(id hraft.ServerID) uint64 {
	member, err := strconv.ParseUint(string(id), 16, 64)
	if err != nil {
		return 0
	}
	return member
}
