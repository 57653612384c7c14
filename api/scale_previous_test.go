// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// A batch of deletions is small, what they deleted may not be: a watcher that
// wants to see it gets it in several responses, none of them a part of a
// revision.
func TestWhatWasDeletedComesInSmallResponses(t *testing.T) {
	s := startServer(t, func(c *Config) { c.MaxRequestBytes = 10_000 })
	const keys, value, most = 60, 100_000, 10_000 + overhead + 200_000
	for i := range keys {
		s.put(t, fmt.Sprintf("k%02d", i), strings.Repeat("v", value))
	}
	for i := range keys {
		s.remove(t, fmt.Sprintf("k%02d", i))
	}
	w := s.watching(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: keys + 2, PrevKv: true})
	seen := 0
	for seen < keys {
		r := w.receive()
		if size := proto.Size(r); size > most {
			t.Errorf("a response of %d bytes with %d events", size, len(r.Events))
		}
		for _, e := range r.Events {
			if want := fmt.Sprintf("k%02d", seen); string(e.PrevKv.GetKey()) != want || len(e.PrevKv.Value) != value {
				t.Fatalf("got %s with %d bytes, want %s", e.PrevKv.GetKey(), len(e.PrevKv.GetValue()), want)
			}
			seen++
		}
		if last := r.Events[len(r.Events)-1].Kv.ModRevision; r.Header.Revision < last || (seen < keys && r.Header.Revision != last) {
			t.Errorf("header at %d with events up to %d", r.Header.Revision, last)
		}
	}
}
