// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/watch"
)

// watcher is one watch of a stream. Only the sender touches it.
type watcher struct {
	id       int64
	cursor   *watch.Cursor // nil after a compaction took what it had yet to get
	previous bool          // wants what was there before
	fragment bool          // takes a revision in pieces
	progress bool          // wants notices of progress
	quiet    bool          // was sent nothing since the last tick
	noPut    bool
	noDelete bool
}

// What a creation is refused with; the texts are etcd's.
var (
	errEmptyRange  = errors.New("mvcc: watcher range is empty")
	errDuplicateID = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
)

// refusedID stands for the id of a watcher that was not created, and of all
// watchers of a stream.
const refusedID = -1

func (w *watches) create(r *pb.WatchCreateRequest) error {
	revision := w.server.revision()
	made, err := w.newWatcher(r)
	if err != nil {
		return w.send(&pb.WatchResponse{
			Header: w.server.header.message(revision), WatchId: refusedID,
			Created: true, Canceled: true, CancelReason: err.Error(),
		})
	}
	from := r.StartRevision
	if from == 0 {
		from = revision + 1
	}
	err = w.send(&pb.WatchResponse{Header: w.server.header.message(revision), WatchId: made.id, Created: true})
	if err != nil {
		return err
	}
	made.cursor = w.group.Watch(rangeOf(r), from)
	w.watchers[made.id], w.live[made.cursor] = made, made
	if made.progress {
		w.startTicker()
	}
	return nil
}

func rangeOf(r *pb.WatchCreateRequest) kv.Range {
	if len(r.Key) == 0 {
		r.Key = []byte{0} // the smallest key
	}
	return kv.Range{Key: r.Key, End: r.RangeEnd}
}

// newWatcher checks a creation in etcd's order, and gives the watcher its id.
func (w *watches) newWatcher(r *pb.WatchCreateRequest) (*watcher, error) {
	keys := rangeOf(r)
	toTheLast := len(keys.End) == 1 && keys.End[0] == 0
	if r.StartRevision < 0 {
		return nil, rpctypes.ErrCompacted
	}
	if err := w.mayWatch(keys); err != nil {
		return nil, err
	}
	if len(keys.End) > 0 && !toTheLast && bytes.Compare(keys.Key, keys.End) >= 0 {
		return nil, errEmptyRange
	}
	id := r.WatchId
	if id == 0 {
		for w.watchers[w.nextID] != nil {
			w.nextID++
		}
		id = w.nextID
		w.nextID++
	}
	if w.watchers[id] != nil {
		return nil, errDuplicateID
	}
	made := &watcher{id: id, previous: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify, quiet: true}
	for _, f := range r.Filters {
		made.noPut = made.noPut || f == pb.WatchCreateRequest_NOPUT
		made.noDelete = made.noDelete || f == pb.WatchCreateRequest_NODELETE
	}
	return made, nil
}

// mayWatch refuses with the text of a status, as etcd does.
func (w *watches) mayWatch(keys kv.Range) error {
	id, err := w.server.identify(w.flow.ctx, w.flow.caller)
	if err == nil {
		err = w.server.config.Machine.MayWatch(id, keys.Key, keys.End)
	}
	return fault(w.server.log, "Watch", err)
}

// cancel ends a watcher. An unknown one gets no answer.
func (w *watches) cancel(id int64) error {
	gone := w.watchers[id]
	if gone == nil {
		return nil
	}
	delete(w.watchers, id)
	if gone.cursor != nil {
		delete(w.live, gone.cursor)
		gone.cursor.Close()
	}
	return w.send(&pb.WatchResponse{Header: w.server.header.message(w.server.revision()), WatchId: id, Canceled: true})
}

// deliver sends what the group has next, if it has something. The group says
// that it is ready as long as there is more, so that requests get their turn.
func (w *watches) deliver() error {
	d, something := w.group.Take()
	if !something {
		return nil
	}
	if d.Cursor == nil {
		return w.send(w.server.header.events(refusedID, d.Revision, nil, false))
	}
	to := w.live[d.Cursor]
	if to == nil {
		return nil // cancelled with events on their way
	}
	if d.Err != nil {
		return w.end(to, d.Err)
	}
	return w.sendEvents(to, d.Batch)
}

// sendEvents sends a batch, in pieces of whole revisions if what the events
// replaced makes it large: the batch's bound knows nothing of that.
func (w *watches) sendEvents(to *watcher, b watch.Batch) error {
	limit := w.server.limits.Load().MaxRequestBytes + overhead
	for events := b.Events; len(events) > 0; {
		changes, n, err := to.changes(events, limit)
		if err != nil {
			return err
		}
		revision := b.Revision
		if n < len(events) {
			revision = events[n-1].Revision
		}
		if err := w.sendChanges(to, revision, changes, limit); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (w *watches) sendChanges(to *watcher, revision int64, changes []change, limit int) error {
	if len(changes) == 0 {
		return nil
	}
	to.quiet = false
	if !to.fragment {
		return w.send(w.server.header.events(to.id, revision, changes, false))
	}
	return fragments(changes, limit, func(piece []change, more bool) error {
		return w.send(w.server.header.events(to.id, revision, piece, more))
	})
}

// changes selects what the watcher wants of the first n events: all of them,
// or whole revisions until those weigh limit.
func (to *watcher) changes(events []*watch.Event, limit int) (out []change, n int, err error) {
	out = make([]change, 0, len(events))
	size := 0
	for i, e := range events {
		if size >= limit && e.Revision != events[i-1].Revision {
			return out, i, nil
		}
		if (e.Delete && to.noDelete) || (!e.Delete && to.noPut) {
			continue
		}
		c := change{event: e.Event}
		if to.previous {
			if c.previous, err = e.Previous(); err != nil {
				return nil, 0, err
			}
		}
		out, size = append(out, c), size+c.size()
	}
	return out, len(events), nil
}

// end tells a watcher that a compaction took what it had yet to get. Its id
// stays taken until the client cancels it. Any other reason ends the stream.
func (w *watches) end(to *watcher, reason error) error {
	var compacted *watch.CompactedError
	if !errors.As(reason, &compacted) {
		return fmt.Errorf("watcher ended: %w", reason)
	}
	delete(w.live, to.cursor)
	to.cursor = nil
	return w.send(&pb.WatchResponse{
		Header: w.server.header.message(0), WatchId: to.id,
		Canceled: true, CompactRevision: compacted.Revision,
	})
}

// tellIdle sends progress to the watchers that want it, have nothing to come,
// and were sent nothing since the last tick.
func (w *watches) tellIdle() error {
	for _, to := range w.live {
		if !to.progress {
			continue
		}
		revision, synced := to.cursor.Progress()
		if to.quiet && synced {
			if err := w.send(w.server.header.events(to.id, revision, nil, false)); err != nil {
				return err
			}
		}
		to.quiet = true
	}
	return nil
}
