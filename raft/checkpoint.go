// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// How a member that is far behind catches up.
//
// When the leader's log does not reach back to what a member lacks, hraft asks
// the store of snapshots for the newest one and sends it with InstallSnapshot;
// the receiver's main loop reads it from the stream, so that it hears nothing
// else meanwhile, and its size must be known. Neither suits a state of
// gigabytes. So hraft gets a token, and the state goes another way:
//
//	leader                                   member
//	labels.Open: pack takes a checkpoint
//	transport.InstallSnapshot: deliver  ───► Receive prepares it, beside what there is,
//	                                         and puts it on the shelf
//	hraft's InstallSnapshot, the token  ───► sink.Close: the intent is durable
//	                                         applier.Restore: the machine becomes it, the label is durable
//	                                         hraft clears the log
//	                                         with the first entry behind it the intent goes
//
// The token's index is the newest that was applied here, not the label's: the
// machine has gone on since.

const (
	// tokenSize is what hraft believes to be the size of a state. hraft takes
	// it for how many times as long as another message the installation may
	// take (see transport): what is left to do is not in proportion to the state.
	tokenSize = 12
	// deliveryPatience is how long a member may take over one piece of a
	// checkpoint, and over its end.
	deliveryPatience = time.Minute
)

// Checkpoint is the state at one moment.
type Checkpoint interface {
	io.WriterTo
	io.Closer // lets go of it
}

// parcel is a checkpoint on its way. What hraft reads of it is the token.
type parcel struct {
	bytes.Reader
	checkpoint Checkpoint
	index      uint64
	closed     func() // called once
	once       sync.Once
}

// Close may be called again.
func (p *parcel) Close() (err error) {
	p.once.Do(func() {
		p.closed()
		err = p.checkpoint.Close()
	})
	return err
}

var errEarly = errors.New("raft: nothing has been applied yet, for another member to begin with")

// pack takes a checkpoint for a member. The log keeps what follows it until the
// parcel is closed.
func (n *Node) pack() (*hraft.SnapshotMeta, io.ReadCloser, error) {
	select {
	case n.labeling <- struct{}{}:
	case <-n.stopping:
		return nil, nil, n.stopReason()
	}
	defer func() { <-n.labeling }()
	c, meta, err := n.applier.checkpoint()
	if err != nil {
		return nil, nil, err
	}
	meta.Size = tokenSize
	n.sending.Add(1)
	p := &parcel{checkpoint: c, index: meta.Index, closed: func() { n.sending.Add(-1) }}
	p.Reset(make([]byte, tokenSize))
	return meta, p, nil
}

// checkpoint takes one after the newest entry that was applied.
func (a *applier) checkpoint() (Checkpoint, *hraft.SnapshotMeta, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last.index == 0 || a.last.index < a.machine.AppliedIndex() {
		return nil, nil, errEarly
	}
	c, err := a.machine.Checkpoint(a.last.index)
	if err != nil {
		return nil, nil, fmt.Errorf("take a checkpoint at entry %d: %w", a.last.index, err)
	}
	return c, newLabel(a.last.index, a.last.term, a.configuration, a.configured.Load()), nil
}

// deliver brings a checkpoint to a member, which then waits for hraft's word.
func (n *Node) deliver(id hraft.ServerID, address string, p *parcel) error {
	l, _ := n.reign.current()
	if l == nil {
		return fmt.Errorf("%w: %s leads no more", ErrNoLeader, n.id)
	}
	ctx, cancel := context.WithCancelCause(n.life)
	defer cancel(nil)
	go func() {
		select {
		case <-l.lost:
			cancel(errLost)
		case <-ctx.Done():
		}
	}()
	n.config.Logger.Info("member needs a checkpoint", "member", string(id), "index", p.index)
	began := time.Now()
	s := &stamped{checkpoint: p.checkpoint, timer: time.AfterFunc(deliveryPatience, func() { cancel(errSlow) })}
	defer s.timer.Stop()
	err := n.config.Network.Send(ctx, memberOf(id), address, s)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		n.config.Logger.Warn("checkpoint not delivered", "member", string(id), "index", p.index, "bytes", s.bytes, "cause", err)
		return err
	}
	n.metrics.delivered.Inc()
	n.config.Logger.Info("checkpoint delivered", "member", string(id), "index", p.index,
		"bytes", s.bytes, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

var errSlow = fmt.Errorf("raft: no piece was taken for %s", deliveryPatience)

// stamped is a checkpoint whose writing is watched.
type stamped struct {
	checkpoint Checkpoint
	to         io.Writer
	timer      *time.Timer
	bytes      int64
}

func (s *stamped) WriteTo(to io.Writer) (int64, error) {
	s.to = to
	return s.checkpoint.WriteTo(s)
}

func (s *stamped) Write(b []byte) (int, error) {
	written, err := s.to.Write(b)
	s.bytes += int64(written)
	s.timer.Reset(deliveryPatience)
	return written, err
}
