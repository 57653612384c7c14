// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// With nobody lagging, each revision is a response of its own, and its number
// is the header's.
func TestWatchResponses(t *testing.T) { alike(t, both, watchResponses) }

func watchResponses(s *side) {
	history(s)
	w := s.watch()
	w.exact = true
	ids := []int64{w.on("a", "c", 0), w.on("\x00", "\x00", 0), w.on("a", "", 14)}
	s.ask(put("z", "unseen by some"))
	w.until(ids[1], 17)
	for i, r := range []proto.Message{
		put("a", "1"), then(opPut("a", "2"), opDelete("b", "d"), opPut("x", "2"), opPut("a/2", "2")), del("a", "b"), then(opPut("a", "3"), opDelete("x", "y")),
	} {
		s.ask(r)
		for _, id := range ids {
			w.until(id, int64(18+i))
		}
	}
	w.leave()
}

func TestWatchIDs(t *testing.T) { alike(t, both, watchIDs) }

func watchIDs(s *side) {
	w := s.watch()
	w.on("a", "", 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 1})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 2})
	w.on("a", "", 0) // passes over 1 and 2
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: -1})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: -9})
	w.cancel(7)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.cancel(0)
	w.on("a", "", 0)
	s.ask(put("a", "1"))
	for _, id := range []int64{1, 2, 3, 4, 7, overall, -9} {
		w.until(id, 2)
	}
	w.leave()
}

func TestWatchStart(t *testing.T) { alike(t, both, watchStarts) }

func watchStarts(s *side) {
	history(s)
	w := s.watch()
	past := w.on("\x00", "\x00", 9)
	w.until(past, 16)
	oldest := w.on("a", "b", 8)
	w.until(oldest, 13)
	for _, compacted := range []int64{1, 7} {
		w.ends(w.on("a", "", compacted))
	}
	current, next, future := w.on("c", "", 16), w.on("c", "", 17), w.on("c", "", 19)
	w.until(current, 16)
	w.on("c", "", -1)
	now := w.on("c", "", 0)
	s.ask(put("c", "17"), put("c", "18"), put("c", "19"), put("c", "20"))
	for _, id := range []int64{past, current, next, future, now} {
		w.until(id, 20)
	}
	w.leave()
}

func TestWatchRanges(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		w := s.watch()
		var ids []int64
		for _, window := range windows {
			if id := w.on(window.key, window.end, 0); id != overall {
				ids = append(ids, id)
			}
		}
		for _, key := range []string{"\x00", "a", "a/1", "a0", "b", "c", "none", "\xff", "\xff\xff"} {
			s.ask(put(key, "first"), put(key, "second"))
		}
		s.ask(del("\x00", "\x00"))
		for _, id := range ids {
			w.until(id, 35)
		}
		w.leave()
	})
}

func TestWatchFilters(t *testing.T) { alike(t, both, filteredWatches) }

func filteredWatches(s *side) {
	const noPut, noDelete = pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE
	history(s)
	w := s.watch()
	filtered := func(from int64, filters ...pb.WatchCreateRequest_FilterType) int64 {
		return w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("\x00"), StartRevision: from, Filters: filters})
	}
	puts, deletes, doubled := filtered(0, noDelete), filtered(0, noPut), filtered(0, noPut, noPut)
	none, unknown := filtered(0, noPut, noDelete), filtered(0, 9)
	oldPuts, oldDeletes := filtered(8, noDelete), filtered(8, noPut)
	w.until(oldPuts, 16)
	w.until(oldDeletes, 13)
	s.ask(put("a", "1"), then(opDelete("a", ""), opPut("x", "1"), opDelete("b", "")), put("a", "2"), del("a", ""), put("y", "")) // 17 to 21
	for _, id := range []int64{puts, unknown, oldPuts} {
		w.until(id, 21)
	}
	for _, id := range []int64{deletes, doubled, oldDeletes} {
		w.until(id, 20)
	}
	w.cancel(none)
	w.leave()
}

func TestWatchPreviousValues(t *testing.T) { alike(t, both, previousValues) }

func previousValues(s *side) {
	history(s)
	w := s.watch()
	live := w.create(&pb.WatchCreateRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), PrevKv: true})
	// What was there before revision 8 is compacted.
	old := w.create(&pb.WatchCreateRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), PrevKv: true, StartRevision: 8})
	w.until(old, 16)
	s.ask(put("a", "1"), put("a", "2"), put("new", "1"),
		then(opPut("a", "3"), opDelete("b", "d"), op(&pb.PutRequest{Key: []byte("new"), IgnoreValue: true, Lease: 7})),
		&pb.LeaseRevokeRequest{ID: 7}, put("new", "again"), // 17 to 22
	)
	for _, id := range []int64{live, old} {
		w.until(id, 22)
	}
	w.leave()
}

// A compaction ends the watchers that it overtakes, and no others.
func TestWatchEndsWithACompaction(t *testing.T) { alike(t, both, compactedWatches) }

func compactedWatches(s *side) {
	history(s)
	w := s.watch()
	live := w.on("a", "", 0)
	ended := w.on("a", "", 5)
	w.ends(ended)
	// Its id stays taken until it is cancelled.
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: ended})
	s.ask(&pb.CompactionRequest{Revision: 16}, put("a", "1"))
	w.until(live, 17)
	w.leave()
}

func TestWatchTakesWhatIsNoRequest(t *testing.T) { alike(t, both, oddWatches) }

func oddWatches(s *side) {
	w := s.watch()
	w.send(&pb.WatchRequest{})
	w.create(&pb.WatchCreateRequest{})
	w.cancelUnknown(5)
	w.cancelUnknown(overall)
	id := w.on("a", "", 0)
	w.cancelUnknown(id + 1)
	// A client may say no more and still listen.
	if err := w.stream.CloseSend(); err != nil {
		s.Fatal(err)
	}
	s.ask(put("a", "1"))
	w.until(id, 2)
	w.leave()
}
