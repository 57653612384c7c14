// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
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

	"github.com/cleatd/cleat/watch"
)

const (
	flowKeys   = 1000
	flowPerTxn = 100
	// flowWindow is all that a client takes in that does not read.
	flowWindow = 64 << 10
)

// river is a server and a flow of events through it: each transaction puts the
// next hundred of a thousand keys, round and round.
type river struct {
	*testServer
	t       testing.TB
	kv      pb.KVClient
	value   string
	written int
}

func newRiver(t testing.TB) *river {
	s := startServer(t, nil)
	return &river{testServer: s, t: t, kv: pb.NewKVClient(s.dial(t)), value: strings.Repeat("v", 400)}
}

func (r *river) key(event int) string     { return fmt.Sprintf("key%04d", event%flowKeys) }
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
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
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
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	r.t.Cleanup(cancel)
	stream, err := pb.NewWatchClient(c).Watch(ctx)
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

// banks watch one key each, on one stream, and tell whenever they have got all
// events up to the next thousand.
func (r *river) banks() (reached <-chan int) {
	stream := r.watch()
	for i := range flowKeys {
		r.create(stream, key(r.key(i)))
	}
	told := make(chan int, 1000)
	go func() {
		defer close(told)
		got, sum := make([]int, flowKeys), 0
		for {
			reply, err := stream.Recv()
			if err != nil {
				return // the test has ended, or reached ends too early
			}
			for _, e := range reply.Events {
				i := int(reply.WatchId)
				if err := r.compare(e, i+got[i]*flowKeys); err != nil {
					r.t.Errorf("watcher %d: %v", i, err)
					return
				}
				got[i]++
				if sum++; sum%flowKeys == 0 {
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
	r.t.Fatal("the stream of a thousand watchers has ended")
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

// A client that stops reading, its flow control full, costs what one cursor may
// hold and two responses: one that grpc tries to send and one that waits. Who
// writes and who watches other keys does not notice, and it misses nothing.
func TestAClientThatStopsReadingCostsABoundedAmount(t *testing.T) {
	if testing.Short() {
		t.Skip("two hundred thousand events pass")
	}
	racing := built("-race", "true")
	measured := built("CGO_ENABLED", "1") && !racing // without cgo Pebble's memory is in the heap
	round := 50_000                                  // more than the store keeps in memory
	if racing {
		round = 5_000
	}
	r := newRiver(t)
	reached := r.banks()
	r.flow(round)
	r.await(reached)
	const slack = 5 << 20 // what the store's caches and pools vary by
	before := reachable()
	most := before + watch.MaxHeld + 2*(watch.BatchBytes+watch.BatchBytes/2) + 2*flowWindow + slack

	stalled, first := r.watch(), r.written
	r.create(stalled, &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	for range 4 {
		r.flow(round)
		r.await(reached)
		if measured {
			eventually(t, func() error { // compactions take memory while they run
				if size := reachable(); size > most {
					return fmt.Errorf("after %d events the heap is %d KiB, want at most %d", r.written-first, size>>10, most>>10)
				}
				return nil
			})
		}
	}

	for next := first; next < r.written; {
		reply, err := stalled.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range reply.Events {
			if err := r.compare(e, next); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
}
