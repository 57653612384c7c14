// SPDX-License-Identifier: Apache-2.0

package api

import (
	"math"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/cleatd/cleat/kv"
)

func TestSplicedWatchResponse(t *testing.T) {
	h := testHeader()
	put := &mvccpb.KeyValue{Key: []byte("k"), Value: make([]byte, 200), CreateRevision: 2, ModRevision: 3, Version: 2, Lease: 5}
	before := &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 2, ModRevision: 2, Version: 1}
	gone := &mvccpb.KeyValue{Key: []byte("k"), ModRevision: 4}
	cases := []struct {
		name     string
		id       int64
		changes  []change
		fragment bool
		want     *pb.WatchResponse
	}{
		{"progress of one watcher", 7, nil, false, &pb.WatchResponse{WatchId: 7}},
		{"progress of all watchers", -1, nil, false, &pb.WatchResponse{WatchId: -1}},
		{"greatest id", math.MaxInt64, nil, false, &pb.WatchResponse{WatchId: math.MaxInt64}},
		{"events", 0,
			[]change{{kv.Event{Record: record(t, put)}, record(t, before)}, {kv.Event{Delete: true, Record: record(t, gone)}, nil}}, false,
			&pb.WatchResponse{Events: []*mvccpb.Event{{Kv: put, PrevKv: before}, {Type: mvccpb.Event_DELETE, Kv: gone}}}},
		{"fragment", 1, []change{{kv.Event{Record: record(t, put)}, nil}}, true,
			&pb.WatchResponse{WatchId: 1, Fragment: true, Events: []*mvccpb.Event{{Kv: put}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.want.Header = h.message(9)
			equal(t, decoded(t, h.events(c.id, 9, c.changes, c.fragment), new(pb.WatchResponse)), c.want)
		})
	}
}

func TestFragmentsStayBelowTheLimit(t *testing.T) {
	of := func(sizes ...int) []change {
		var out []change
		for _, size := range sizes {
			out = append(out, change{event: kv.Event{Record: make(kv.Record, size)}})
		}
		return out
	}
	cases := []struct {
		name    string
		changes []change
		want    []int
	}{
		{"one", of(10), []int{1}},
		{"all in one", of(100, 100, 100), []int{3}},
		{"one too large", of(2000), []int{1}},
		{"cut", of(400, 400, 400, 400), []int{2, 2}},
		{"large ones alone", of(2000, 10, 2000, 10, 10), []int{1, 1, 1, 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []int
			last := false
			err := fragments(c.changes, 1000, func(piece []change, more bool) error {
				got, last = append(got, len(piece)), !more
				return nil
			})
			if err != nil || !slices.Equal(got, c.want) || !last {
				t.Fatalf("got pieces of %v, last %v, %v; want %v", got, last, err, c.want)
			}
		})
	}
}
