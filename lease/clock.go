// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"container/heap"
	"math"
	"time"
)

// moment is monotonic time since the keeper was made. Unlike a time.Time it
// holds the longest lease without falling back to the wall clock.
type moment time.Duration

const never = moment(math.MaxInt64)

// after saturates, for leases longer than the clock can count.
func (m moment) after(d time.Duration) moment {
	if d > 0 && m > never-moment(d) {
		return never
	}
	return m + moment(d)
}

func seconds(n int64) time.Duration { return time.Duration(min(n, MaxTTL)) * time.Second }

// clock is the time of one lease. All fields are guarded by Keeper.mu.
type clock struct {
	lease      Lease
	deadline   moment // when the lease has run out
	checkpoint moment // when to record what is left; never for what ends sooner

	// checkpointed: the state may hold less than the whole TTL.
	checkpointed bool
	// flight is not nil while a checkpoint of this lease, or its undoing, is
	// proposed; it is closed when the outcome is known. One at a time keeps
	// their order in the log.
	flight chan struct{}
	// gone is closed when the lease has left the table. It is nil until
	// somebody waits.
	gone chan struct{}

	due   moment // a lower bound of deadline and checkpoint; orders the queue
	index int    // in the queue; -1 while its expiry is proposed
}

// wind starts the clock anew.
func (c *clock) wind(now moment, remaining int64) {
	c.deadline = now.after(seconds(remaining))
	c.schedule(now)
}

// schedule plans the next checkpoint: there is none for a lease that ends
// before it would be made.
func (c *clock) schedule(now moment) {
	c.checkpoint = now.after(checkpointInterval)
	if c.checkpoint >= c.deadline {
		c.checkpoint = never
	}
}

// remaining is what is left in whole seconds, rounded up: never early.
func (c *clock) remaining(now moment) int64 {
	left := time.Duration(c.deadline - now)
	return int64((left + time.Second - 1) / time.Second)
}

// clocks are all leases of one leadership, those that are due first.
//
// A renewal is by far the most frequent operation, so it only moves the
// deadline; the place in the queue is put right when the clock gets to its
// head, once a TTL at most.
type clocks struct {
	feed  *feed
	byID  map[int64]*clock
	queue queue
	ended chan struct{} // closed when the leadership is over
}

func (s *clocks) start(now moment, l Lease) {
	c := &clock{lease: l, checkpointed: l.Remaining < l.TTL}
	c.wind(now, l.Remaining)
	s.byID[l.ID] = c
	s.enqueue(c)
}

func (s *clocks) stop(id int64) {
	c := s.byID[id]
	if c == nil {
		return
	}
	delete(s.byID, id)
	if c.index >= 0 {
		heap.Remove(&s.queue, c.index)
	}
	if c.gone != nil {
		close(c.gone)
	}
}

// catchUp follows what happened in the table.
func (s *clocks) catchUp(now moment) {
	for _, ch := range s.feed.take() {
		switch ch.what {
		case granted:
			s.start(now, ch.lease)
		case revoked:
			s.stop(ch.lease.ID)
		case renewed:
			// The renewal may be another member's that led until now: its
			// promise to the client holds here too.
			if c := s.byID[ch.lease.ID]; c != nil && c.deadline > now {
				c.wind(now, c.lease.TTL)
			}
		}
	}
}

func (s *clocks) enqueue(c *clock) {
	c.due = min(c.deadline, c.checkpoint)
	heap.Push(&s.queue, c)
}

// queue implements heap.Interface, ordered by due.
type queue []*clock

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	c := x.(*clock)
	c.index = len(*q)
	*q = append(*q, c)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	c.index = -1
	return c
}
