// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestWatchProgress(t *testing.T) { alike(t, both, progressNotices) }

func progressNotices(s *side) {
	w := s.watch()
	id := w.on("a", "", 0)
	w.progress()
	s.ask(put("b", "1"), put("b", "2"))
	w.progress()
	s.ask(put("a", "1"))
	w.until(id, 4)
	w.progress()
	other := w.on("b", "", 2)
	w.until(other, 3)
	w.progress()
	w.cancel(id)
	w.progress()
	w.leave()
}

func TestWatchNotifiesOfProgress(t *testing.T) {
	t.Parallel()
	etcdFlags, ourFlags := "--watch-progress-notify-interval=100ms", "--watch-progress-interval=100ms"
	body := func(s *side) {
		w := s.watch()
		idle := w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
		w.on("b", "", 0)
		w.reaches(idle)
		s.ask(put("a", "1"))
		w.until(idle, 2)
		w.reaches(idle)
		s.ask(put("c", "1"))
		w.receive("progress at 3", func(m *pb.WatchResponse) bool { return quiet(m) && m.Header.Revision == 3 })
		w.leave()
	}
	want, got := etcdDoor.open(t, etcdFlags), socket.open(t, ourFlags)
	body(want)
	body(got)
	compare(t, got.transcript, want.transcript)
}
