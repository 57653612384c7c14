// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/watch"
)

var flowEvents = flag.Int("events", 200_000, "how many events pass a client that has stopped reading")

const (
	flowPerTxn = 100
	// flowWindow is all that a client takes in that does not read.
	flowWindow = 64 << 10

	flowCache    = 16 << 20
	flowMemtable = 4 << 20
)

// river is a server and a flow of events through it: each transaction puts the
// next hundred of so many keys, round and round.
type river struct {
	*testServer
	t       testing.TB
	kv      pb.KVClient
	keys    int
	value   string
	written int
}

// newRiver has a store that keeps little in memory, and as much from early on.
func newRiver(t testing.TB, keys int) *river {
	s := startServerOn(t, kv.Options{TailBytes: 512 << 10, CacheBytes: flowCache, MemtableBytes: flowMemtable}, nil)
	return &river{testServer: s, t: t, keys: keys, kv: pb.NewKVClient(s.dial(t)), value: strings.Repeat("v", 100)}
}

func (r *river) key(event int) string     { return fmt.Sprintf("key%06d", event%r.keys) }
func (r *river) revision(event int) int64 { return 2 + int64(event/flowPerTxn) }

// flow writes through the socket; no write may take long.
func (r *river) flow(events int) {
	r.t.Helper()
	for range events / flowPerTxn {
		txn := &pb.TxnRequest{}
		for range flowPerTxn {
			put := &pb.PutRequest{Key: []byte(r.key(r.written)), Value: fmt.Appendf(nil, "%08d%s", r.written, r.value)}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
			r.written++
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
		reply, err := r.kv.Txn(ctx, txn)
		cancel()
		if err != nil || reply.Header.Revision != r.revision(r.written-1) {
			r.t.Fatalf("after %d events: %v, %v", r.written, reply.GetHeader(), err)
		}
	}
}

func (r *river) compare(e *mvccpb.Event, event int) error {
	if e.Type != mvccpb.Event_PUT || e.Kv.ModRevision != r.revision(event) || string(e.Kv.Key) != r.key(event) ||
		!strings.HasPrefix(string(e.Kv.Value), fmt.Sprintf("%08d", event)) || len(e.Kv.Value) != 8+len(r.value) {
		return fmt.Errorf("got %s at %d, want event %d", e.Kv.Key, e.Kv.ModRevision, event)
	}
	return nil
}

// watch opens a stream on a connection of its own, with a window of fixed size.
func (r *river) watch() pb.Watch_WatchClient {
	r.t.Helper()
	c, err := grpc.NewClient("unix:"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(flowWindow), grpc.WithInitialConnWindowSize(flowWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	stream, err := pb.NewWatchClient(c).Watch(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return stream
}

func (r *river) create(stream pb.Watch_WatchClient, create *pb.WatchCreateRequest) {
	r.t.Helper()
	if err := stream.Send(watchCreate(create)); err != nil {
		r.t.Fatal(err)
	}
	if reply, err := stream.Recv(); err != nil || !reply.Created || reply.Canceled {
		r.t.Fatalf("got %v, %v", reply, err)
	}
}

// banks watch one key each, on one stream, and tell whenever they have got as
// many events as there are keys.
func (r *river) banks() (reached <-chan int) {
	stream := r.watch()
	for i := range r.keys {
		r.create(stream, key(r.key(i)))
	}
	told := make(chan int, 1000)
	go func() {
		defer close(told)
		got, sum := make([]int, r.keys), 0
		for {
			reply, err := stream.Recv()
			if err != nil {
				return // the test has ended, or reached ends too early
			}
			for _, e := range reply.Events {
				i := int(reply.WatchId)
				if err := r.compare(e, i+got[i]*r.keys); err != nil {
					r.t.Errorf("watcher %d: %v", i, err)
					return
				}
				got[i]++
				if sum++; sum%r.keys == 0 {
					told <- sum
				}
			}
		}
	}()
	return told
}

func (r *river) await(reached <-chan int) {
	r.t.Helper()
	for n := range reached {
		if n == r.written {
			return
		}
	}
	r.t.Fatal("the stream of the watchers of single keys has ended")
}

// built says whether the test was built with a setting.
func built(key, value string) bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: key, Value: value})
}

func reachable() int {
	runtime.GC()
	runtime.GC() // what the first one left in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// reachableAtRest returns what is reachable once compactions, which take memory while
// they run, have ended: the least that is seen until it has not fallen for long.
func reachableAtRest() int {
	least := reachable()
	for same := 0; same < 20; same++ {
		if size := reachable(); size < least-64<<10 {
			least, same = size, 0
		}
	}
	return least
}

// unsteady is how much the store and its caches make the heap vary. Without
// cgo, and by chance with the race detector, Pebble's memory is in the heap.
func unsteady(racing bool) int {
	const pools = 5 << 20
	if built("CGO_ENABLED", "1") && !racing {
		return pools
	}
	return pools + flowCache + 2*flowMemtable
}

// A client that stops reading, its flow control full, costs what one cursor may
// hold and two responses: one that grpc tries to send and one that waits. Ten
// thousand who watch a key each, and who writes, do not notice, and it misses
// nothing.
func TestAClientThatStopsReadingCostsABoundedAmount(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of thousands of events pass")
	}
	keys, events := 10_000, *flowEvents
	racing := built("-race", "true")
	if racing {
		keys, events = 1000, min(events, 20_000)
	}
	r := newRiver(t, keys)
	reached := r.banks()
	r.flow(max(events/4, 5*keys)) // more than the store keeps in memory
	r.await(reached)
	const buffer = watch.MaxHeld + 2*(watch.BatchBytes+watch.BatchBytes/2) + 2*flowWindow
	before := reachableAtRest()
	most := before + buffer + unsteady(racing)

	stalled, first := r.watch(), r.written
	r.create(stalled, &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	for range 4 {
		r.flow(events / 4)
		r.await(reached)
		eventually(t, func() error { // compactions take memory while they run
			size := reachable()
			if size > most {
				return fmt.Errorf("after %d events the heap is %d KiB, want at most %d", r.written-first, size>>10, most>>10)
			}
			t.Logf("after %d events the heap is %d KiB, was %d and may be %d", r.written-first, size>>10, before>>10, most>>10)
			return nil
		})
	}
	r.readAll(stalled, first)
}

// readAll reads every event from first on, and no other.
func (r *river) readAll(stream pb.Watch_WatchClient, first int) {
	r.t.Helper()
	for next := first; next < r.written; {
		reply, err := stream.Recv()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range reply.Events {
			if err := r.compare(e, next); err != nil {
				r.t.Fatal(err)
			}
			next++
		}
	}
}
