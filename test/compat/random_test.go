// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// hashEvery is how many operations pass between two comparisons of all that
// the servers keep.
const hashEvery = 250

// Operations that nobody would think of, one after the other on both sides,
// with the state compared on the way.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/compat -run %s -seed %d -ops %d", t.Name(), from, *ops)
	p := &pair{want: etcdDoor.open(t), got: socket.open(t)}
	g := &generator{Rand: rand.New(rand.NewPCG(from, 0)), revision: 1, compacted: -1}
	for i := range *ops {
		if p.step(t, g.next()); t.Failed() {
			t.Fatalf("at operation %d", i)
		}
		g.revision, g.compacted = p.revision, p.compacted
		if i%hashEvery == 0 || i == *ops-1 {
			p.compareState(t)
		}
	}
	p.compareHistory(t)
	t.Logf("%d operations led to revision %d; %d were refused", *ops, p.revision, p.refused)
}

// pair is both sides in step.
type pair struct {
	want, got           *side
	revision, compacted int64 // of etcd
	refused             int
}

// step sends one request to both at once.
func (p *pair) step(t testing.TB, r proto.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type answer struct {
		reply proto.Message
		err   error
	}
	ours := make(chan answer, 1)
	go func() {
		reply, err := call(ctx, p.got.conn, r)
		ours <- answer{reply, err}
	}()
	reply, err := call(ctx, p.want.conn, proto.Clone(r))
	a := <-ours
	got, want := outcome(r, a.reply, a.err), outcome(r, reply, err)
	if got != want {
		t.Errorf("%s\ncleatd: %s\n  etcd: %s", describe(r), got, want)
	}
	if err != nil {
		p.refused++
		return
	}
	if h, ok := reply.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		p.revision = h.GetHeader().Revision
	}
	if c, ok := r.(*pb.CompactionRequest); ok {
		p.compacted = c.Revision
	}
}

// compareState compares all that is kept, and how it is found.
func (p *pair) compareState(t testing.TB) {
	t.Helper()
	// At the compaction itself etcd remembers what it removed, and with
	// nothing behind the compaction there is no other revision to ask for.
	if p.compacted < p.revision {
		p.step(t, &pb.HashKVRequest{})
		p.step(t, &pb.HashKVRequest{Revision: p.revision - (p.revision-max(p.compacted, 0)-1)/2})
	}
	p.step(t, everything())
	p.step(t, &pb.LeaseLeasesRequest{})
	for id := range int64(leases) {
		p.step(t, &pb.LeaseTimeToLiveRequest{ID: id + 1, Keys: true})
	}
}

// compareHistory reads everything at every revision there is, and watches all
// of it go by.
func (p *pair) compareHistory(t testing.TB) {
	t.Helper()
	first := max(p.compacted, 1)
	for revision := first; revision <= p.revision; revision++ {
		p.step(t, &pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Revision: revision})
	}
	for _, s := range []*side{p.want, p.got} {
		w := s.watch()
		id := w.create(&pb.WatchCreateRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), StartRevision: first, PrevKv: true})
		s.ask(put("the end", ""))
		w.until(id, p.revision+1)
		w.leave()
	}
	compare(t, p.got.transcript, p.want.transcript)
}
