// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/watch"
)

// A stream of watches has two goroutines, however many watchers it carries:
//
//	client ──► reader ──requests──► sender ──► client
//	                                  ▲
//	                 group of cursors ┘ says which of them have events
//
// The reader only receives. The sender, which is the handler itself, owns
// everything else: it creates and cancels watchers, takes events from the
// cursors that have some, one batch at a time, and sends. So a reply to a
// creation precedes the watcher's events, because one goroutine does them in
// this order. A client that does not
// read holds up its own sender, which holds one batch; its cursors then wait
// in the history, and its reader stops after a few more requests.

const watchService = "etcdserverpb.Watch"

func (s *Server) watch() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: watchService,
		Streams:     []grpc.StreamDesc{s.stream(watchService, "Watch", true, true, s.serveWatch)},
	}
}

// waitingRequests is how many requests the reader takes in before the sender
// gets to them.
const waitingRequests = 16

// minProgressInterval is the shortest time between two notices of progress.
const minProgressInterval = 100 * time.Millisecond

// watches is one stream.
type watches struct {
	server   *Server
	flow     *flow
	group    *watch.Group
	watchers map[int64]*watcher         // by id, until the client cancels them
	live     map[*watch.Cursor]*watcher // those that have events to come
	nextID   int64
	// ticker runs once a watcher wanted notices of progress; nil before.
	ticker *time.Ticker
}

func (s *Server) serveWatch(f *flow) error {
	w := &watches{
		server: s, flow: f, group: s.config.Hub.Group(),
		watchers: make(map[int64]*watcher), live: make(map[*watch.Cursor]*watcher),
	}
	defer w.close()
	requests := make(chan *pb.WatchRequest, waitingRequests)
	broken := make(chan error, 1)
	s.group.Go(func() { w.read(requests, broken) })
	return w.run(requests, broken)
}

// read receives until the client has said all it will, which ends nothing: a
// watch through the gateway is one request and then silence. Stop waits for
// the goroutine, which ends soon after the handler.
func (w *watches) read(requests chan<- *pb.WatchRequest, broken chan<- error) {
	for {
		r := new(pb.WatchRequest)
		if err := w.flow.receive(r); err != nil {
			if !errors.Is(err, io.EOF) {
				broken <- w.server.broken(w.flow, "receive", "watch", err)
			}
			return
		}
		select {
		case requests <- r:
		case <-w.flow.ctx.Done():
			return
		}
	}
}

// run is the sender.
func (w *watches) run(requests <-chan *pb.WatchRequest, broken <-chan error) error {
	for {
		var tick <-chan time.Time
		if w.ticker != nil {
			tick = w.ticker.C
		}
		var err error
		select {
		case r := <-requests:
			err = w.handle(r)
		case <-w.group.Ready():
			err = w.deliver()
		case <-tick:
			err = w.tellIdle()
		case err := <-broken:
			return err
		case <-w.flow.ctx.Done():
			return context.Cause(w.flow.ctx)
		}
		if err != nil {
			return err
		}
	}
}

func (w *watches) close() {
	w.group.Close()
	if w.ticker != nil {
		w.ticker.Stop()
	}
}

func (w *watches) handle(r *pb.WatchRequest) error {
	switch request := r.GetRequestUnion().(type) {
	case *pb.WatchRequest_CreateRequest:
		if request.CreateRequest != nil {
			return w.create(request.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		if request.CancelRequest != nil {
			return w.cancel(request.CancelRequest.WatchId)
		}
	case *pb.WatchRequest_ProgressRequest:
		if request.ProgressRequest != nil && len(w.live) > 0 {
			w.group.RequestProgress()
		}
	}
	return nil // what is none of these is passed over, as etcd does
}

func (w *watches) send(m any) error {
	if err := w.flow.send(m); err != nil {
		return w.server.broken(w.flow, "send", "watch", err)
	}
	return nil
}

// startTicker begins notices of progress. The interval varies so that streams
// that began together are not told together.
func (w *watches) startTicker() {
	every := w.server.limits.Load().WatchProgressInterval
	if w.ticker != nil || every <= 0 {
		return
	}
	interval := max(every, minProgressInterval)
	w.ticker = time.NewTicker(interval + rand.N(interval/10))
}
