// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watching is one stream of watches. What it is sent is written down watcher
// by watcher when the stream is left, since a server may serve independent
// watchers in any order. A script waits for what it caused before it goes on,
// so that there is only one thing that a server can say next.
type watching struct {
	*side
	stream   pb.Watch_WatchClient
	received map[int64][]string // by watch id, in order
	reached  map[int64]int64    // by watch id, the revision of the last event
	asked    []string
	// exact keeps apart the responses in which events come. Otherwise they are
	// written down one by one: a watcher that lags for a moment may get several
	// revisions in one response, from either server.
	exact bool
}

// overall is the id of what concerns no watcher, or all of them.
const overall = -1

func (s *side) watch() *watching {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		s.Fatal(err)
	}
	return &watching{side: s, stream: stream, received: make(map[int64][]string), reached: make(map[int64]int64)}
}

// receive takes responses until one is what the script waits for.
func (w *watching) receive(what string, found func(*pb.WatchResponse) bool) *pb.WatchResponse {
	w.Helper()
	for {
		m, err := w.stream.Recv()
		if err != nil {
			w.Fatalf("%s: waiting for %s after %s and %v: %v", w.name, what, strings.Join(w.asked, "; "), w.received, err)
		}
		w.take(m)
		if found(m) {
			return m
		}
	}
}

func (w *watching) take(m *pb.WatchResponse) {
	w.Helper()
	said := outcome(nil, m, nil)
	all := w.received[m.WatchId]
	switch {
	case !w.exact && len(m.Events) > 0:
		for _, e := range m.Events {
			all = append(all, text(e))
		}
	case quiet(m) && len(all) > 0 && all[len(all)-1] == said:
		// How often a notice of progress comes is the clock's affair.
	default:
		all = append(all, said)
	}
	w.received[m.WatchId] = all
	if len(m.Events) == 0 {
		return
	}
	if last := m.Events[len(m.Events)-1].Kv.ModRevision; m.Header.Revision < last {
		w.Errorf("%s: watcher %d is told of revision %d at revision %d", w.name, m.WatchId, last, m.Header.Revision)
	}
	if first := m.Events[0].Kv.ModRevision; first <= w.reached[m.WatchId] {
		w.Errorf("%s: watcher %d is told of revision %d after %d", w.name, m.WatchId, first, w.reached[m.WatchId])
	}
	if !m.Fragment {
		w.reached[m.WatchId] = m.Events[len(m.Events)-1].Kv.ModRevision
	}
}

// quiet is true of a response that tells of progress and nothing else.
func quiet(m *pb.WatchResponse) bool { return len(m.Events) == 0 && !m.Created && !m.Canceled }

func (w *watching) send(r *pb.WatchRequest) {
	w.Helper()
	w.asked = append(w.asked, text(r))
	if err := w.stream.Send(r); err != nil {
		w.Fatal(err)
	}
}

// create returns the id of the new watcher, or -1.
func (w *watching) create(r *pb.WatchCreateRequest) int64 {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: w.rebased(r).(*pb.WatchCreateRequest)}})
	return w.receive("a creation", func(m *pb.WatchResponse) bool { return m.Created }).WatchId
}

// on watches a window from a revision on.
func (w *watching) on(key, end string, from int64) int64 {
	w.Helper()
	return w.create(&pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), StartRevision: from})
}

// cancel ends a watcher that is there.
func (w *watching) cancel(id int64) {
	w.Helper()
	w.cancelUnknown(id)
	w.ends(id)
}

// cancelUnknown cancels a watcher that is not there, which nobody answers.
func (w *watching) cancelUnknown(id int64) {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) ends(id int64) {
	w.Helper()
	w.receive("an end", func(m *pb.WatchResponse) bool { return m.Canceled && m.WatchId == id })
}

// progress asks how far all watchers are.
func (w *watching) progress() {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
	w.reaches(overall)
}

// reaches waits for a notice of progress.
func (w *watching) reaches(id int64) {
	w.Helper()
	w.receive("progress", func(m *pb.WatchResponse) bool { return quiet(m) && m.WatchId == id })
}

// until waits until a watcher has all events up to a revision in which there
// is one for it.
func (w *watching) until(id, revision int64) {
	w.Helper()
	if revision += w.base; w.reached[id] < revision {
		w.receive(fmt.Sprintf("revision %d at %d", revision, id), func(*pb.WatchResponse) bool { return w.reached[id] >= revision })
	}
}

// leave writes everything down.
func (w *watching) leave() {
	w.Helper()
	if err := w.stream.CloseSend(); err != nil {
		w.Fatal(err)
	}
	asked := strings.Join(w.asked, "; ")
	for _, id := range sortedKeys(w.received) {
		w.note(fmt.Sprintf("watcher %d of %s", id, asked), strings.Join(slices.Clone(w.received[id]), "\n\t"))
	}
}
