// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// history is all that clients asked and were told. Its methods may be called
// concurrently.
type history struct {
	began time.Time

	mu       sync.Mutex
	deeds    []*deed
	sights   []sight
	leases   map[int64]*tenure
	holds    []hold
	watches  []*watching
	cluster  uint64        // what does not come from it is no answer
	written  int           // how many writes were acknowledged
	progress chan struct{} // closed, and replaced, when written grows
}

// deed is one request and what came of it. Its times are since the history
// began, by the monotonic clock.
type deed struct {
	client     int
	request    request
	call, back time.Duration
	outcome    outcome
	answer     answer // if acknowledged
	err        error  // if not
}

type outcome string

const (
	acknowledged outcome = "acknowledged"
	refused      outcome = "refused" // certainly not carried out
	unknown      outcome = "unknown"
)

// sight is the moment when somebody was shown that a revision exists.
type sight struct {
	at       time.Duration
	revision int64
}

// hold is a lock that a client was told it has, as of a revision.
type hold struct {
	key      string
	prefix   string
	revision int64
}

func newHistory(cluster uint64) *history {
	return &history{began: time.Now(), cluster: cluster, leases: map[int64]*tenure{}, progress: make(chan struct{})}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// do sends a request and keeps what came of it. A deadline of a few seconds
// keeps clients busy while a member is away.
func (h *history) do(ctx context.Context, c *clientv3.Client, client int, r request) (answer, error) {
	short, cancel := context.WithTimeout(ctx, 2500*time.Millisecond)
	defer cancel()
	d := &deed{client: client, request: r, call: h.now()}
	d.answer, d.err = r.do(short, c)
	d.back = h.now()
	switch {
	case d.err == nil && d.answer.cluster != h.cluster:
		d.outcome, d.err = refused, fmt.Errorf("cluster %x has answered", d.answer.cluster)
	case d.err == nil:
		d.outcome = acknowledged
	case isRefusal(d.err):
		d.outcome = refused
	default:
		d.outcome = unknown
	}
	h.add(d)
	return d.answer, d.err
}

// isRefusal says whether an error promises that nothing was done.
func isRefusal(err error) bool {
	for _, promise := range []error{rpctypes.ErrNoSpace, rpctypes.ErrNoLeader, rpctypes.ErrLeaseNotFound, rpctypes.ErrDuplicateKey} {
		if errors.Is(err, promise) {
			return true
		}
	}
	return false
}

func (h *history) add(d *deed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deeds = append(h.deeds, d)
	if d.outcome != acknowledged {
		return
	}
	h.sights = append(h.sights, sight{d.back, d.answer.revision})
	if d.answer.changed {
		h.written++
		close(h.progress)
		h.progress = make(chan struct{})
	}
}

// writes returns how many have been acknowledged, and what is closed when
// there are more.
func (h *history) writes() (int, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written, h.progress
}

// saw notes that somebody was shown a revision just now.
func (h *history) saw(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sights = append(h.sights, sight{h.now(), revision})
}

// newest is the greatest revision that anybody was shown.
func (h *history) newest() (revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sights[max(0, len(h.sights)-50):] {
		revision = max(revision, s.revision)
	}
	return revision
}

func (h *history) held(l hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = append(h.holds, l)
}

func (d *deed) String() string {
	text := fmt.Sprintf("[%.6f, %.6f] client %d: %s: %s", d.call.Seconds(), d.back.Seconds(), d.client, d.request, d.outcome)
	if d.outcome != acknowledged {
		return fmt.Sprintf("%s: %v", text, d.err)
	}
	return fmt.Sprintf("%s at %d, succeeded %v, %v", text, d.answer.revision, d.answer.succeeded, d.answer.results)
}
