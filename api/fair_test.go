// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// A crowdedServer has little memory and eight mebibytes to list.
type crowdedServer struct{ *testServer }

const (
	crowdedKeys  = 128
	crowdedValue = 64 << 10
	crowdedBytes = crowdedKeys * crowdedValue
)

func startCrowded(t *testing.T, memory int64) crowdedServer {
	t.Helper()
	s := startServer(t, func(c *Config) { c.MemoryBytes = memory })
	c := pb.NewKVClient(s.dial(t))
	for i := range crowdedKeys {
		put(t, c, fmt.Sprintf("list/%04d", i), make([]byte, crowdedValue))
	}
	return crowdedServer{s}
}

func put(t *testing.T, c pb.KVClient, key string, value []byte) {
	t.Helper()
	if _, err := c.Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: value}); err != nil {
		t.Fatal(err)
	}
}

func everything() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte("list/"), RangeEnd: []byte("list0")}
}

// settles fails the test if what was lent out does not come back.
func (s crowdedServer) settles(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		f := s.fair
		if a, b, c, d := f.answers.used.Load(), f.small.used.Load(), f.streams.used.Load(), f.network.used.Load()+f.socket.used.Load(); a != 0 || b != 0 || c != 0 || d != 0 {
			return fmt.Errorf("still lent out: %d of the answers', %d of the small ones', %d of the streams', %d of the requests'", a, b, c, d)
		}
		if free, all := f.turns.free, int(f.answers.limit.Load()/f.share.Load()); free != all {
			return fmt.Errorf("%d of %d turns are there", free, all)
		}
		return nil
	})
}

// shedded is true if something was shed for that reason.
func (s crowdedServer) shedded(t *testing.T, reason string) bool {
	t.Helper()
	_, text := s.get(t, "/metrics")
	return !strings.Contains(text, fmt.Sprintf("cleat_shed_total{reason=%q} 0\n", reason))
}

// unread begins an answer that its client does not read: its window is 64 KiB,
// the rest stays here.
func (s crowdedServer) unread(t *testing.T, conn *grpc.ClientConn, r *pb.RangeRequest) (abandon func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, pb.KV_Range_FullMethodName)
	if err == nil {
		err = stream.SendMsg(r)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err == nil {
		_, err = stream.Header() // the answer has begun
	}
	if err != nil {
		t.Fatal(err)
	}
	return cancel
}

// narrow is a connection whose window stays as small as it is at first.
func (s crowdedServer) narrow(t *testing.T) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("unix:"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestManyLargeListsStayWithinTheBudget(t *testing.T) {
	s := startCrowded(t, 64<<20) // answers may have twice what is listed
	var group sync.WaitGroup
	done := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if used := s.fair.answers.used.Load(); used > s.fair.answers.limit.Load() {
					t.Errorf("%d of %d bytes are lent out", used, s.fair.answers.limit.Load())
					return
				}
			}
		}
	})
	var lists sync.WaitGroup
	for i := range 20 {
		lists.Go(func() {
			r := everything()
			switch i % 3 {
			case 1:
				r.SortOrder, r.SortTarget = pb.RangeRequest_DESCEND, pb.RangeRequest_MOD
				r.Limit = crowdedKeys / 4 // its records are copied once more
			case 2:
				r.KeysOnly = true
			}
			got, err := pb.NewKVClient(s.dial(t)).Range(t.Context(), r)
			if err != nil || got.Count != crowdedKeys || len(got.Kvs) != crowdedKeys && i%3 != 1 {
				t.Errorf("list %d: %d of %d keys, %v", i, len(got.GetKvs()), got.GetCount(), err)
			}
		})
	}
	lists.Wait()
	close(done)
	group.Wait()
	s.settles(t)
}

func TestAnAnswerThatNeedsTooMuchIsRefusedWithWhatToDoInstead(t *testing.T) {
	s := startCrowded(t, 16<<20) // answers may have half of what is listed
	c := pb.NewKVClient(s.dial(t))
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: everything()}}}}
	_, whole := c.Range(t.Context(), everything())
	_, within := c.Txn(t.Context(), txn)
	for what, err := range map[string]error{"a range": whole, "a transaction": within} {
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "with a limit, page by page, or with RangeStream") {
			t.Errorf("%s: %v", what, err)
		}
	}
	page := everything()
	page.Limit = crowdedKeys / 8
	if got, err := c.Range(t.Context(), page); err != nil || len(got.Kvs) != crowdedKeys/8 || got.Count != crowdedKeys || !got.More {
		t.Errorf("a page: %d keys, %v", len(got.GetKvs()), err)
	}
	if n, err := streamed(t, c); err != nil || n != crowdedBytes {
		t.Errorf("a stream: %d bytes of values, %v", n, err)
	}
	if !s.shedded(t, shedLarge) || s.logged("reason="+shedLarge) != 1 {
		t.Error("the refusals were not counted, or not told of once")
	}
	s.settles(t)
}

// streamed counts the bytes of the values that a RangeStream gives.
func streamed(t *testing.T, c pb.KVClient) (n int, err error) {
	stream, err := c.RangeStream(t.Context(), everything())
	for err == nil {
		var r *pb.RangeStreamResponse
		if r, err = stream.Recv(); err == nil {
			for _, kv := range r.RangeResponse.Kvs {
				n += len(kv.Value)
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// A client that does not read what it asked for has taken its own part, not the
// others'; and what it has taken comes back when it goes.
func TestAClientThatDoesNotReadTakesNothingFromOthers(t *testing.T) {
	for name, leave := range map[string]func(conn *grpc.ClientConn, abandon func()){
		"until it gives up":          func(_ *grpc.ClientConn, abandon func()) { abandon() },
		"until its connection ends":  func(conn *grpc.ClientConn, _ func()) { _ = conn.Close() },
		"while it asks for yet more": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := startCrowded(t, 64<<20) // answers may have half again what the list takes
			idle, other := s.narrow(t), pb.NewKVClient(s.dial(t))
			abandon := s.unread(t, idle, everything())
			eventually(t, func() error {
				if s.fair.answers.used.Load() < crowdedBytes/2 {
					return errors.New("the answer is not under way")
				}
				return nil
			})
			if leave == nil {
				ctx, cancel := context.WithCancel(t.Context())
				var more sync.WaitGroup
				for range 10 {
					more.Go(func() { _, _ = pb.NewKVClient(idle).Range(ctx, everything()) })
				}
				defer more.Wait()
				defer cancel()
				eventually(t, func() error {
					if s.fair.turns.waiting.Load() < 10 {
						return errors.New("its other requests do not wait")
					}
					return nil
				})
			}
			put(t, other, "small", []byte("value"))
			small, err := other.Range(t.Context(), &pb.RangeRequest{Key: []byte("small")})
			if err != nil || !bytes.Equal(small.Kvs[0].Value, []byte("value")) {
				t.Errorf("a small read: %v, %v", small, err)
			}
			page := everything()
			page.Limit = crowdedKeys / 4
			if got, err := other.Range(t.Context(), page); err != nil || len(got.Kvs) != crowdedKeys/4 {
				t.Errorf("a large read beside it: %d keys, %v", len(got.GetKvs()), err)
			}
			if leave == nil {
				return
			}
			leave(idle, abandon)
			if got, err := other.Range(t.Context(), everything()); err != nil || len(got.Kvs) != crowdedKeys {
				t.Errorf("a large read after it: %d keys, %v", len(got.GetKvs()), err)
			}
			s.settles(t)
		})
	}
}

// Whoever waits for a client that does not read is refused after a while, and
// that client's connection is closed, so that the next finds room.
func TestAClientThatHasLongReadNothingIsCutOff(t *testing.T) {
	s := startCrowded(t, 48<<20)
	s.fair.wait = 200 * time.Millisecond
	other := pb.NewKVClient(s.dial(t))
	s.unread(t, s.narrow(t), everything())
	eventually(t, func() error {
		got, err := other.Range(t.Context(), everything())
		if err == nil && len(got.Kvs) != crowdedKeys {
			t.Errorf("%d keys", len(got.Kvs))
		}
		if err != nil && status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
		return err
	})
	if !s.shedded(t, shedWaited) || !s.shedded(t, shedStalled) {
		t.Error("what was shed was not counted")
	}
	s.settles(t)
}

// Requests are bounded by their bytes; whoever has many under way is refused
// before those who have few.
func TestAFloodOfLargePutsIsRefusedAndOthersAreNot(t *testing.T) {
	s := startCrowded(t, 128<<20)
	ctx, release := context.WithCancel(t.Context())
	s.node.fail(nodeFaults{hold: func(context.Context) error { <-ctx.Done(); return nil }})
	flood, other := pb.NewKVClient(s.dial(t)), pb.NewKVClient(s.dial(t))
	most := int(s.fair.socket.limit.Load() / (requestCopies << 20)) // of a mebibyte each
	refused := make(chan error, 3*most)
	var group sync.WaitGroup
	for range 3 * most {
		group.Go(func() {
			_, err := flood.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 1<<20)})
			refused <- err
		})
	}
	for range 2 * most { // the others wait to be agreed upon
		if err := <-refused; !errors.Is(rpctypes.Error(err), rpctypes.ErrTooManyRequests) {
			t.Errorf("got %v", err)
		}
	}
	group.Go(func() { put(t, other, "k", []byte("small")) })
	eventually(t, func() error {
		if s.fair.socket.used.Load() <= s.fair.socket.limit.Load()/2 {
			return errors.New("fewer are under way than may be")
		}
		return nil
	})
	release()
	group.Wait()
	if !s.shedded(t, shedRequest) {
		t.Error("the refusals were not counted")
	}
	s.settles(t)
}

// What the gateway makes of an answer lies in memory several times.
func TestAnswersAsJSONCountAsOftenAsTheyLieInMemory(t *testing.T) {
	s := startCrowded(t, 96<<20) // answers may have three times what is listed
	code, text := s.post(t, "/v3/kv/range", `{"key":"bGlzdC8=","range_end":"bGlzdDA="}`)
	if code == 200 || !strings.Contains(text, "page by page") {
		t.Errorf("a list: %d %.200s", code, text)
	}
	code, text = s.post(t, "/v3/kv/range", `{"key":"bGlzdC8=","range_end":"bGlzdDA=","limit":"32"}`)
	if code != 200 || strings.Count(text, `"key"`) != 32 {
		t.Errorf("a page: %d, %d keys", code, strings.Count(text, `"key"`))
	}
	s.settles(t)
}
