// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// Limits are what may change while the server serves.
type Limits struct {
	MaxRequestBytes, MaxTxnOps int
	WatchProgressInterval      time.Duration // of watches that begin from then on
	QuotaBytes                 int64         // told in Status; zero if there is none

	// MemoryBytes is what the process may take, by which the server decides how
	// much it answers at once; zero: 1 GiB.
	MemoryBytes int64
}

// defaultMemory is what a server goes by that is told nothing.
const defaultMemory = 1 << 30

// SetLimits makes other limits count, for requests under way too. No request
// fails by it but those that the new limits refuse. grpc's own limit of what it
// takes is fixed: for a larger one there is a new grpc server, to which the
// clients' connections go over as soon as they hear of it; what is under way on
// the old ones ends there, streams included.
func (s *Server) SetLimits(l Limits) {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.limits.Swap(&l)
	if old.MemoryBytes != l.MemoryBytes {
		s.fair.divide(cmp.Or(l.MemoryBytes, defaultMemory))
	}
	if l.MaxRequestBytes+overhead > s.network.Load().takes {
		s.relieve(&s.network, s.newNetwork(l.MaxRequestBytes))
		s.relieve(&s.local, s.newLocal(l.MaxRequestBytes))
	}
}

// mostText is how long a request's JSON may be: twice what grpc takes, as base64
// needs a third more.
func (s *Server) mostText() int64 { return 2 * int64(s.limits.Load().MaxRequestBytes+overhead) }

// desk is a grpc server with the way in to it.
type desk struct {
	*grpc.Server
	in    *handoff
	takes int // bytes of a message

	mu       sync.Mutex
	leaving  bool           // nobody is given to it any more; under mu
	closed   bool           // nor to another one; under mu
	arriving sync.WaitGroup // connections that were given and that grpc does not know yet; added to under mu until leaving
}

func (s *Server) newNetwork(maxRequest int) *desk { return s.newDesk("grpc", maxRequest) }

func (s *Server) newLocal(maxRequest int) *desk {
	d := s.newDesk("grpc on the socket", maxRequest)
	if s.config.RegisterAdmin != nil {
		s.config.RegisterAdmin(d)
	}
	s.reflect(d.Server)
	return d
}

func (s *Server) newDesk(name string, maxRequest int) *desk {
	takes := maxRequest + overhead
	return &desk{Server: s.newGRPC(takes), in: newHandoff(name), takes: takes}
}

// staff begins to serve at a desk.
func (s *Server) staff(d *desk) {
	s.group.Go(func() {
		if err := d.Serve(d.in); !d.left() {
			s.ended(d.in.name, err)
		}
	})
}

// relieve puts another desk in the place of one.
func (s *Server) relieve(c *reception, next *desk) {
	s.start()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.staff(next)
	old := c.Swap(next)
	s.retired = append(s.retired, old)
	s.group.Go(func() {
		old.leave()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.retired = slices.DeleteFunc(s.retired, func(d *desk) bool { return d == old })
	})
}

// leave sends GOAWAY to all connections and returns when the last has ended. Who
// is on the way to grpc gets there first: it would hang up on whoever comes
// later.
func (d *desk) leave() {
	d.mu.Lock()
	d.leaving = true
	d.mu.Unlock()
	d.arriving.Wait()
	d.GracefulStop()
}

// close is leave when there is no other desk to go to.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.leave()
}

func (d *desk) left() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leaving
}

// give is false if another desk is the one to go to.
func (d *desk) give(c *conn) bool {
	d.mu.Lock()
	if d.leaving {
		closed := d.closed
		d.mu.Unlock()
		if closed {
			_ = c.Close() // the gateway's own, behind everybody else
		}
		return closed
	}
	d.arriving.Add(1)
	d.mu.Unlock()
	c.met = sync.OnceFunc(d.arriving.Done)
	d.in.give(c)
	return true
}

// reception is the desk to which a door sends its connections.
type reception struct{ atomic.Pointer[desk] }

func (c *reception) give(k *conn) {
	for !c.Load().give(k) {
	}
}
