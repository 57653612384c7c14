// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/state"
)

// watching is one watch stream of a test.
type watching struct {
	t      testing.TB
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
}

func (s *testServer) watching(t testing.TB) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := pb.NewWatchClient(s.dial(t)).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &watching{t, stream, cancel}
}

func (w *watching) send(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) receive() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Header.GetClusterId() == 0 || r.Header.GetMemberId() == 0 || r.Header.GetRaftTerm() == 0 {
		w.t.Errorf("the header of %v is not complete", r)
	}
	return r
}

// create sends a create request and returns the reply to it, which comes next.
func (w *watching) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.t.Helper()
	w.send(watchCreate(r))
	reply := w.receive()
	if !reply.Created || len(reply.Events) != 0 {
		w.t.Fatalf("got %v, want created", reply)
	}
	return reply
}

func (w *watching) stop(id int64) {
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) askProgress() {
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// want receives events of one watcher until as many came, and compares them as
// text: "PUT k=v", "DELETE k", and what was there before in brackets.
func (w *watching) want(id int64, texts ...string) {
	w.t.Helper()
	for len(texts) > 0 {
		r := w.receive()
		if r.WatchId != id || len(r.Events) == 0 || len(r.Events) > len(texts) {
			w.t.Fatalf("got %v, want events of watcher %d: %q", r, id, texts)
		}
		for i, e := range r.Events {
			if got := eventText(e); got != texts[i] {
				w.t.Fatalf("got %q, want %q", got, texts[i])
			}
			if r.Header.Revision < e.Kv.ModRevision {
				w.t.Errorf("header at revision %d with an event of %d", r.Header.Revision, e.Kv.ModRevision)
			}
		}
		texts = texts[len(r.Events):]
	}
}

func eventText(e *mvccpb.Event) string {
	text := fmt.Sprintf("%s %s", e.Type, e.Kv.Key)
	if e.Type == mvccpb.Event_PUT {
		text += "=" + string(e.Kv.Value)
	}
	if e.PrevKv != nil {
		text += " [" + string(e.PrevKv.Value) + "]"
	}
	return text
}

func (s *testServer) put(t testing.TB, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		s.apply(t, state.PutCommand(state.Identity{}, &pb.PutRequest{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])}))
	}
}

func (s *testServer) remove(t testing.TB, key string) {
	t.Helper()
	s.apply(t, state.DeleteRangeCommand(state.Identity{}, &pb.DeleteRangeRequest{Key: []byte(key)}))
}

func (s *testServer) compactTo(t testing.TB, revision int64) {
	t.Helper()
	s.apply(t, state.CompactCommand(state.Identity{}, &pb.CompactionRequest{Revision: revision}))
}

func (s *testServer) apply(t testing.TB, command []byte) {
	t.Helper()
	result, err := s.node.Propose(t.Context(), command)
	if err == nil {
		_, err = state.ParseResult(result)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func key(k string) *pb.WatchCreateRequest { return &pb.WatchCreateRequest{Key: []byte(k)} }

func TestWatchersGetIDsAsEtcdGivesThem(t *testing.T) {
	s := startServer(t, nil)
	w := s.watching(t)
	ask := func(id int64) *pb.WatchResponse {
		return w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: id})
	}
	for i, c := range []struct{ asked, given int64 }{{0, 0}, {2, 2}, {0, 1}, {0, 3}, {-9, -9}, {0, 4}} {
		if r := ask(c.asked); r.WatchId != c.given || r.Canceled || r.Header.Revision != 1 {
			t.Errorf("%d: asked for %d, got %v", i, c.asked, r)
		}
	}
	r := ask(2)
	if r.WatchId != -1 || !r.Canceled || r.CancelReason != "mvcc: duplicate watch ID provided on the WatchStream" {
		t.Errorf("got %v", r)
	}
	w.stop(2)
	if r := w.receive(); r.WatchId != 2 || !r.Canceled || r.Created || r.CancelReason != "" {
		t.Errorf("got %v", r)
	}
	w.stop(2)   // unknown: no answer
	w.stop(777) // likewise
	if r := ask(2); r.WatchId != 2 || r.Canceled {
		t.Errorf("got %v", r)
	}
}

func TestWatchRefusals(t *testing.T) {
	s := startServer(t, nil)
	w := s.watching(t)
	for name, c := range map[string]struct {
		r      *pb.WatchCreateRequest
		reason string
	}{
		"empty interval":    {&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}, "mvcc: watcher range is empty"},
		"interval of one":   {&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("b")}, "mvcc: watcher range is empty"},
		"negative revision": {&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: -1}, "etcdserver: mvcc: required revision has been compacted"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := w.create(c.r); r.WatchId != -1 || !r.Canceled || r.CancelReason != c.reason || r.CompactRevision != 0 {
				t.Fatalf("got %v", r)
			}
		})
	}
	if r := w.create(key("k")); r.WatchId != 0 {
		t.Errorf("a refusal took an id: %v", r)
	}
}

func TestWatchSendsEventsOfItsRange(t *testing.T) {
	for name, c := range map[string]struct {
		r    *pb.WatchCreateRequest
		want []string
	}{
		"one key":            {&pb.WatchCreateRequest{Key: []byte("a")}, []string{"PUT a=1", "DELETE a"}},
		"range":              {&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("c")}, []string{"PUT a=1", "PUT b=2", "DELETE a"}},
		"from key":           {&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte{0}}, []string{"PUT b=2", "PUT c=3"}},
		"no key is the zero": {&pb.WatchCreateRequest{RangeEnd: []byte{0}}, []string{"PUT a=1", "PUT b=2", "DELETE a", "PUT c=3"}},
		"with the previous":  {&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("c"), PrevKv: true}, []string{"PUT a=1 [0]", "PUT b=2", "DELETE a [1]"}},
		"no puts":            {&pb.WatchCreateRequest{Key: []byte("a"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}, []string{"DELETE a"}},
		"no deletions":       {&pb.WatchCreateRequest{Key: []byte("a"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}, []string{"PUT a=1"}},
		"history":            {&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 1}, []string{"PUT a=0", "PUT a=1", "DELETE a"}},
		"the future":         {&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 5}, []string{"DELETE a", "PUT c=3"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nil)
			s.put(t, "a", "0")
			w := s.watching(t)
			if r := w.create(c.r); r.Header.Revision != 2 {
				t.Errorf("created at %v", r)
			}
			s.put(t, "a", "1", "b", "2")
			s.remove(t, "a")
			s.put(t, "c", "3")
			w.want(0, c.want...)
		})
	}
}

func TestEventsOfOneRevisionStayTogether(t *testing.T) {
	s := startServer(t, nil)
	w := s.watching(t)
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	txn := &pb.TxnRequest{}
	for i := range 100 {
		txn.Success = append(txn.Success, putOp(fmt.Sprintf("k%02d", 99-i)))
	}
	s.apply(t, state.TxnCommand(state.Identity{}, txn))
	r := w.receive()
	if len(r.Events) != 100 || string(r.Events[0].Kv.Key) != "k99" || r.Header.Revision != 2 {
		t.Fatalf("got %d events at revision %d", len(r.Events), r.Header.Revision)
	}
}

func TestWatchFromACompactedRevision(t *testing.T) {
	s := startServer(t, nil)
	s.put(t, "k", "1", "k", "2", "k", "3")
	s.compactTo(t, 3)
	w := s.watching(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2})
	r := w.receive()
	if r.WatchId != 0 || !r.Canceled || r.Created || r.CompactRevision != 3 || len(r.Events) != 0 {
		t.Fatalf("got %v", r)
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 3, WatchId: 7, PrevKv: true})
	w.want(7, "PUT k=2", "PUT k=3 [2]")
}

func TestLargeRevisionsAreFragmented(t *testing.T) {
	s := startServer(t, func(c *Config) { c.MaxRequestBytes = 10_000 })
	w := s.watching(t)
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, Fragment: true})
	txn := &pb.TxnRequest{}
	value := bytes.Repeat([]byte("v"), 200_000)
	for i := range 7 {
		op := putOp(fmt.Sprint(i))
		op.GetRequestPut().Value = value
		txn.Success = append(txn.Success, op)
	}
	s.apply(t, state.TxnCommand(state.Identity{}, txn))
	var keys []string
	for pieces := 1; ; pieces++ {
		r := w.receive()
		for _, e := range r.Events {
			keys = append(keys, string(e.Kv.Key))
		}
		if r.Fragment {
			continue
		}
		if got := strings.Join(keys, ""); got != "0123456" || pieces < 3 {
			t.Fatalf("got keys %s in %d pieces", got, pieces)
		}
		return
	}
}

func TestProgressIsToldWhenAskedFor(t *testing.T) {
	s := startServer(t, nil)
	w := s.watching(t)
	w.askProgress() // no watcher: no answer, as in etcd
	w.create(key("k"))
	s.put(t, "k", "1", "other", "2")
	w.want(0, "PUT k=1")
	w.askProgress()
	if r := w.receive(); r.WatchId != -1 || len(r.Events) != 0 || r.Header.Revision != 3 || r.Created || r.Canceled {
		t.Fatalf("got %v", r)
	}
	// Progress never overtakes an event.
	for i := range 50 {
		value := fmt.Sprint(i)
		s.put(t, "k", value)
		w.askProgress()
		w.want(0, "PUT k="+value)
		if r := w.receive(); r.WatchId != -1 || r.Header.Revision != int64(4+i) {
			t.Fatalf("got %v", r)
		}
	}
}

func TestIdleWatchersAreToldOfProgress(t *testing.T) {
	s := startServer(t, func(c *Config) { c.WatchProgressInterval = 100 * time.Millisecond })
	w := s.watching(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	s.put(t, "other", "1")
	for range 2 {
		if r := w.receive(); r.WatchId != 0 || len(r.Events) != 0 || r.Header.Revision != 2 {
			t.Fatalf("got %v", r)
		}
	}
}

// A gateway's client has said all it will after one request.
func TestWatchGoesOnAfterTheClientsLastWord(t *testing.T) {
	s := startServer(t, nil)
	w := s.watching(t)
	w.create(key("k"))
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	s.put(t, "k", "1")
	w.want(0, "PUT k=1")
}

func TestThousandsOfWatchersOnOneStream(t *testing.T) {
	const watchers = 5000
	s := startServer(t, nil)
	w := s.watching(t)
	go func() {
		for i := range watchers {
			_ = w.stream.Send(watchCreate(key(fmt.Sprintf("k%d", i)))) // a failure shows as a missing reply
		}
	}()
	for range watchers {
		if r := w.receive(); !r.Created {
			t.Fatalf("got %v", r)
		}
	}
	for _, i := range []int{4999, 17, 0} {
		s.put(t, fmt.Sprintf("k%d", i), "v")
		w.want(int64(i), fmt.Sprintf("PUT k%d=v", i))
	}
}

func TestWatchThroughEtcdsClient(t *testing.T) {
	s := startServer(t, nil)
	c := s.client(t)
	events := c.Watch(t.Context(), "/dc/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if r := <-events; !r.Created {
		t.Fatalf("got %+v", r)
	}
	if _, err := c.Put(t.Context(), "/dc/1", "x"); err != nil {
		t.Fatal(err)
	}
	if r := <-events; len(r.Events) != 1 || !r.Events[0].IsCreate() || string(r.Events[0].Kv.Key) != "/dc/1" {
		t.Fatalf("got %+v", r)
	}
	if err := c.RequestProgress(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-events; !r.IsProgressNotify() || r.Header.Revision != 2 {
		t.Fatalf("got %+v", r)
	}
}

// A client that stops reading costs a bounded amount of memory, delays nobody
// and misses nothing.
func TestASlowWatcherFallsBehindOnlyItself(t *testing.T) {
	s := startServer(t, nil)
	slow, fast := s.watching(t), s.watching(t)
	all := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	slow.create(all)
	fast.create(all)
	value := strings.Repeat("v", 10_000)
	const puts = 500
	for i := range puts {
		s.put(t, fmt.Sprint(i), value)
		fast.want(0, fmt.Sprintf("PUT %d=%s", i, value))
	}
	for next := 0; next < puts; {
		for _, e := range slow.receive().Events {
			if string(e.Kv.Key) != fmt.Sprint(next) {
				t.Fatalf("got key %s, want %d", e.Kv.Key, next)
			}
			next++
		}
	}
}
