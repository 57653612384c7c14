// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Who has come in by a door is answered, also when the member stops at that
// moment: the kernel has let them in, and what comes after it in the queue of a
// door that systemd holds is the next process's. So a stop closes the doors, then
// waits for those in the hall to get to grpc or to the HTTP server, and only then
// tells these to finish.
//
//	doors closed ─ hall empty ─ HTTP questions answered ─ both finish ─ what is left, broken off
//	              1 s at most   ½ s at most                            after 2 s

const (
	// stopLimit is how long Stop waits for requests under way, if its context
	// allows that long.
	stopLimit = 2 * time.Second
	// hallLimit is how much of that those may take who are in the hall, and
	// wordLimit those of them who have said nothing: what did not ask misses
	// nothing.
	hallLimit = stopLimit / 2
	wordLimit = stopLimit / 4
	// askLimit is how long HTTP connections have for a question and its answer:
	// net/http answers none that comes after it was told to finish, and the gateway
	// needs grpc.
	askLimit = stopLimit / 4
)

// hall is where connections are between a door and a server.
type hall struct {
	doors sync.WaitGroup // that let connections in; added to under the server's mu, until it is stopped
	there sync.WaitGroup // connections; added to by a door
	// web are those given to the HTTP server that it does not know yet; added to
	// by those who are there.
	web sync.WaitGroup

	word, shut           context.Context // they end for those who have said nothing; for all
	endWord, endShut     context.CancelFunc
	wordLimit, shutLimit time.Duration // tests allow more
}

func (h *hall) open(base context.Context) {
	h.shut, h.endShut = context.WithCancel(base)
	h.word, h.endWord = context.WithCancel(h.shut)
	h.wordLimit, h.shutLimit = wordLimit, hallLimit
}

// empty returns when nobody is in it any more. The doors are closed.
func (h *hall) empty(ctx context.Context) {
	word, shut := time.AfterFunc(h.wordLimit, h.endWord), time.AfterFunc(h.shutLimit, h.endShut)
	defer word.Stop()
	defer shut.Stop()
	defer context.AfterFunc(ctx, h.endShut)()
	h.doors.Wait()
	h.there.Wait()
	h.web.Wait()
}

// Stop closes the doors, tells health checks, ends streams with Unavailable,
// answers who has come in, sends GOAWAY, waits for the requests under way up to
// two seconds or the end of ctx, and breaks off what is left. It returns when
// nothing of the server runs any more.
func (s *Server) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	s.healthy.Shutdown()
	s.mu.Lock()
	s.stopped = true
	for _, l := range s.listeners {
		_ = l.Close() // an inherited listener may be closed already
	}
	desks := append(slices.Clone(s.retired), s.network.Load(), s.local.Load())
	s.mu.Unlock()
	s.streams.stop()
	s.hall.empty(ctx)
	s.web.SetKeepAlivesEnabled(false) // each is closed behind its answer
	s.talks.wait(ctx, askLimit)

	var ending sync.WaitGroup
	ending.Go(func() {
		if err := s.web.Shutdown(ctx); err != nil {
			_ = s.web.Close() // what is left has had its time
		}
		s.gateway.close(ctx)
	})
	for _, d := range desks {
		ending.Go(func() { s.stopGRPC(ctx, d) })
	}
	ending.Wait()
	s.endBase()
	for _, d := range desks {
		_ = d.in.Close() // never fails
	}
	_ = s.webIn.Close() // likewise
	s.group.Wait()
}

// stopGRPC lets requests finish, then breaks off those that do not.
func (s *Server) stopGRPC(ctx context.Context, d *desk) {
	done := make(chan struct{})
	go func() {
		d.close()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.endBase() // wakes handlers that wait for agreement
	d.Stop()
	<-done
}

// toWeb gives a connection to the HTTP server.
func (s *Server) toWeb(c *conn) {
	s.hall.web.Add(1)
	c.met = sync.OnceFunc(s.hall.web.Done)
	s.webIn.give(c)
}

// talks are the HTTP connections on which a question is being answered, or which
// are there for the first one.
type talks struct {
	mu   sync.Mutex // guards what follows
	open map[net.Conn]bool
	none chan struct{} // closed when there is none left; nil: nobody waits
}

// follow is net/http's ConnState.
func (t *talks) follow(c net.Conn, state http.ConnState) {
	t.mu.Lock()
	if state == http.StateNew || state == http.StateActive {
		if t.open == nil {
			t.open = make(map[net.Conn]bool)
		}
		t.open[c] = true
	} else {
		delete(t.open, c)
	}
	if len(t.open) == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
	t.mu.Unlock()
	if k, ok := c.(*conn); ok && k.met != nil {
		k.met()
	}
}

// wait returns when there is none, or the time is over.
func (t *talks) wait(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.mu.Lock()
	if len(t.open) == 0 {
		t.mu.Unlock()
		return
	}
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
