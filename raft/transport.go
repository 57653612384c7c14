// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"
)

const (
	// maxMessageBytes is what one message of entries carries, or a single
	// entry that is larger. hraft counts entries only.
	maxMessageBytes = 8 << 20
	// streamPool is how many idle streams to one member are kept.
	streamPool = 3
)

// openTransport gives hraft its way to the other members. One member alone
// talks to nobody: the transport within the process carries nothing, and the
// member's address is its id.
func (n *Node) openTransport() hraft.Transport {
	c := &n.config
	if c.Network == nil {
		_, t := hraft.NewInmemTransport(hraft.ServerAddress(n.id))
		return t
	}
	s := &streams{network: c.Network, id: n.id, open: map[net.Conn]struct{}{}, idle: map[hraft.ServerAddress][]*sender{}}
	t := &transport{
		self:      n.id,
		streams:   s,
		patience:  messagePatience(c.ElectionTimeout),
		trust:     cmp.Or(c.faults.trust, c.ElectionTimeout),
		inbox:     make(chan hraft.RPC),
		hints:     &n.hints,
		deliver:   n.deliver,
		unsettled: n.disk.unsettled,
		log:       c.Logger,
		away:      map[hraft.ServerID]chan struct{}{},
		ended:     make(chan struct{}),
		told:      map[hraft.ServerID]*told{},
		waiting:   map[hraft.ServerID]int{},
	}
	s.serve = t.serve // streams come as soon as hraft's part is there
	t.NetworkTransport = hraft.NewNetworkTransportWithConfig(&hraft.NetworkTransportConfig{
		Stream: s, MaxPool: streamPool, Timeout: t.patience,
		// No pipelines: one group of commands is on its way at a time, and
		// hraft's hangs for ever when an answer that refuses is followed by
		// another answer, with replication to that member.
		MaxRPCsInFlight: 1,
		Logger:          hclogTo(c.Logger), MsgpackUseNewTimeFormat: true,
	})
	t.TimeoutScale = 1 // by the byte: see tokenSize
	t.work.Go(t.collect)
	n.transport = t
	return t
}

// messagePatience is how long one message may take. A member whose stream
// hangs is not heard from for so long after the way is free again, and a full
// message must get onto a slow disk within it.
func messagePatience(electionTimeout time.Duration) time.Duration { return 10 * electionTimeout }

// transport is hraft's, with eleven differences.
//
// An address, where hraft sees one, is the member's id: hraft compares
// addresses to tell whether it has voted for a candidate already, so two
// members that change places in one term would both get a vote.
//
// A message never claims more committed than it shows: the receiver would
// commit whatever else is in its log. hraft reads its commit index after it
// has chosen the entries to send, and so can claim more.
//
// Nor does it claim what this member has not fsynced itself (tail.go).
//
// Entries for a member that cannot be reached wait until a heartbeat gets
// through. hraft would try again ever more rarely, and leave a member that has
// been away for half a minute without entries for ten seconds more.
//
// Heartbeats take their turn in hraft's main loop. It would answer them on the
// side, where one that was held up between two of its checks sets the term back
// from that of an election which was held meanwhile: a leader could lose its
// term, and what was agreed upon in it.
//
// What is committed is told at once (tell.go).
//
// Entries go over streams of their own, in a form of their own (entries.go).
//
// Who has not heard of its leader for as long as one is trusted votes for
// another (vote.go).
//
// What a kept stream loses, because its other end has been started again since,
// is sent once more (streams.go).
//
// A state goes ahead of the message to install it (checkpoint.go).
//
// It is silent while the disk hangs (pace.go).
type transport struct {
	*hraft.NetworkTransport
	self      hraft.ServerID
	streams   *streams
	patience  time.Duration // for one message
	trust     time.Duration // in a leader that is silent
	voter     atomic.Pointer[hraft.Raft]
	inbox     chan hraft.RPC // what other members say, to hraft
	work      sync.WaitGroup // the goroutine that collects
	hints     *hints
	log       *slog.Logger
	deliver   func(id hraft.ServerID, address string, p *parcel) error
	unsettled func() uint64 // disk.unsettled

	awayMu sync.Mutex
	away   map[hraft.ServerID]chan struct{} // closed when a heartbeat gets through again
	ended  chan struct{}                    // closed by Close
	ending sync.Once

	quietMu sync.Mutex
	quiet   chan struct{} // nil while the member speaks; closed when it does again

	toldMu     sync.Mutex               // protects what follows: see tell.go
	told       map[hraft.ServerID]*told // followers that are up to date, or nearly
	waiting    map[hraft.ServerID]int   // how many of a follower's calls wait for a commit
	lastCommit time.Time
	patient    bool        // commits follow one another closely
	reminder   *time.Timer // set while reminded
	reminded   bool
}

// awayPatience bounds how long entries wait for a heartbeat, which hraft sends
// to members that were removed, too, as long as entries for them wait.
const awayPatience = 5 * time.Minute

func (t *transport) LocalAddr() hraft.ServerAddress { return hraft.ServerAddress(t.self) }

func (t *transport) EncodePeer(id hraft.ServerID, _ hraft.ServerAddress) []byte { return []byte(id) }

// target is what streams.Dial takes apart again: hraft's pool of streams is by
// target, so a member that moves gets new ones.
func (t *transport) target(id hraft.ServerID, address hraft.ServerAddress) hraft.ServerAddress {
	return hraft.ServerAddress(string(id) + "@" + t.hints.resolve(id, string(address)))
}

func (t *transport) AppendEntries(id hraft.ServerID, a hraft.ServerAddress,
	args *hraft.AppendEntriesRequest, resp *hraft.AppendEntriesResponse) error {
	limit(args, t.unsettled())
	t.awaitVoice()
	err := t.exchange(t.target(id, a), args, resp)
	switch {
	case args.PrevLogEntry == 0 && len(args.Entries) == 0 && args.LeaderCommitIndex == 0: // a heartbeat
		t.note(id, err)
	case err != nil:
		t.noteSent(id, a, args, false)
		t.awaitReturn(id)
	default:
		t.noteSent(id, a, args, resp.Success)
	}
	return err
}

// silence keeps back what a leader tells, until speak.
func (t *transport) silence() {
	t.quietMu.Lock()
	defer t.quietMu.Unlock()
	if t.quiet == nil {
		t.quiet = make(chan struct{})
	}
}

func (t *transport) speak() {
	t.quietMu.Lock()
	defer t.quietMu.Unlock()
	if t.quiet != nil {
		close(t.quiet)
		t.quiet = nil
	}
}

func (t *transport) awaitVoice() {
	t.quietMu.Lock()
	quiet := t.quiet
	t.quietMu.Unlock()
	if quiet == nil {
		return
	}
	select {
	case <-quiet:
	case <-t.ended:
	}
}

// note remembers whether a heartbeat reached a member.
func (t *transport) note(id hraft.ServerID, cause error) {
	t.awayMu.Lock()
	defer t.awayMu.Unlock()
	gone, known := t.away[id]
	switch {
	case cause == nil && known:
		close(gone)
		delete(t.away, id)
		t.log.Info("member answers again", "member", string(id))
	case cause != nil && !known:
		t.away[id] = make(chan struct{})
		select {
		case <-t.ended: // it is this member that goes
		default:
			t.log.Warn("member does not answer", "member", string(id), "cause", cause)
		}
	}
}

// awaitReturn waits while heartbeats do not reach a member.
func (t *transport) awaitReturn(id hraft.ServerID) {
	t.awayMu.Lock()
	gone, known := t.away[id]
	t.awayMu.Unlock()
	if !known {
		return
	}
	patience := time.NewTimer(awayPatience)
	defer patience.Stop()
	select {
	case <-gone:
	case <-t.ended:
	case <-patience.C:
	}
}

func (t *transport) RequestVote(id hraft.ServerID, a hraft.ServerAddress,
	args *hraft.RequestVoteRequest, resp *hraft.RequestVoteResponse) error {
	return anew(func() error { return t.NetworkTransport.RequestVote(id, t.target(id, a), args, resp) })
}

func (t *transport) RequestPreVote(id hraft.ServerID, a hraft.ServerAddress,
	args *hraft.RequestPreVoteRequest, resp *hraft.RequestPreVoteResponse) error {
	return anew(func() error { return t.NetworkTransport.RequestPreVote(id, t.target(id, a), args, resp) })
}

func (t *transport) InstallSnapshot(id hraft.ServerID, a hraft.ServerAddress,
	args *hraft.InstallSnapshotRequest, resp *hraft.InstallSnapshotResponse, data io.Reader) error {
	p, ok := data.(*parcel)
	if !ok { // a label of this member's that is being installed meanwhile
		return errEarly
	}
	err := t.deliver(id, t.hints.resolve(id, string(a)), p)
	if err == nil {
		err = anew(func() error { return t.NetworkTransport.InstallSnapshot(id, t.target(id, a), args, resp, p) })
	}
	if err != nil {
		err = errors.Join(err, p.Close()) // it is not kept for a member that is away
		t.awaitReturn(id)
	}
	return err
}

func (t *transport) TimeoutNow(id hraft.ServerID, a hraft.ServerAddress,
	args *hraft.TimeoutNowRequest, resp *hraft.TimeoutNowResponse) error {
	return anew(func() error { return t.NetworkTransport.TimeoutNow(id, t.target(id, a), args, resp) })
}

// SetHeartbeatHandler leaves heartbeats to hraft's main loop.
func (t *transport) SetHeartbeatHandler(func(hraft.RPC)) {}

// Close ends all streams, so that nothing in hraft waits for another member.
func (t *transport) Close() error {
	t.ending.Do(func() {
		close(t.ended)
		t.toldMu.Lock()
		defer t.toldMu.Unlock()
		clear(t.told)
	})
	err := t.NetworkTransport.Close()
	t.work.Wait()
	return err
}

// limit cuts a message to its size, and what it claims committed to what it
// shows and to what lies before the oldest entry that this member has not
// fsynced. hraft goes on behind the last entry that it finds in args.
func limit(args *hraft.AppendEntriesRequest, unsettled uint64) {
	bytes := 0
	for i, entry := range args.Entries {
		bytes += len(entry.Data)
		if i > 0 && bytes > maxMessageBytes {
			args.Entries = args.Entries[:i]
			break
		}
	}
	args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.PrevLogEntry+uint64(len(args.Entries)), unsettled-1)
}
