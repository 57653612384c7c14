// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

type verb string

const (
	put     verb = "put"
	pair    verb = "pair"    // one transaction that puts two keys
	remove  verb = "delete"  // of one key, which exists
	sweep   verb = "sweep"   // of several keys in one range, which exist
	grant   verb = "grant"   // takes no revision
	revoke  verb = "revoke"  // takes one if keys are attached
	compact verb = "compact" // takes no revision; at says where
)

// deed is one request of a writer. Its keys, in the order of its events, and
// its lease are the writer's own.
type deed struct {
	writer int
	verb   verb
	keys   []string
	value  value
	lease  int64
	at     int64
}

func (d *deed) String() string {
	return fmt.Sprintf("%s %q value %d lease %x at %d of writer %d", d.verb, d.keys, d.value.id, d.lease, d.at, d.writer)
}

// value stands for bytes that follow from it: no two deeds have the same id.
type value struct {
	id   uint64
	size int
}

func (v value) bytes() []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], v.id)
	b := binary.BigEndian.AppendUint64(nil, v.id)
	b = append(b, make([]byte, v.size)...)
	_, _ = rand.NewChaCha8(key).Read(b[8:]) // never fails
	return b
}

// item is what a key holds.
type item struct {
	value                       value
	create, mod, version, lease int64
}

func (i item) record(key string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: []byte(key), Value: i.value.bytes(),
		CreateRevision: i.create, ModRevision: i.mod, Version: i.version, Lease: i.lease,
	}
}

// items is what a member should hold.
type items map[string]item

// apply carries out a deed at a revision and returns the events it makes.
func (s items) apply(d *deed, rev int64) []*clientv3.Event {
	var events []*clientv3.Event
	for _, key := range d.keys {
		if d.verb != put && d.verb != pair {
			delete(s, key)
			events = append(events, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}})
			continue
		}
		next := s[key]
		if next.version++; next.version == 1 {
			next.create = rev
		}
		next.mod, next.value, next.lease = rev, d.value, d.lease
		s[key] = next
		events = append(events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: next.record(key)})
	}
	return events
}

// attached are the keys of a lease, in order.
func (s items) attached(lease int64) []string {
	var keys []string
	for key, i := range s {
		if i.lease == lease {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// compare says how the records that a member holds differ.
func (s items) compare(have []*mvccpb.KeyValue) error {
	if len(have) != len(s) {
		return fmt.Errorf("%d keys, want %d", len(have), len(s))
	}
	for i, key := range slices.Sorted(maps.Keys(s)) {
		if err := sameRecord(have[i], s[key].record(key)); err != nil {
			return err
		}
	}
	return nil
}

func sameEvents(have, want []*clientv3.Event) error {
	if len(have) != len(want) {
		return fmt.Errorf("%d events, want %d", len(have), len(want))
	}
	for i := range have {
		if have[i].Type != want[i].Type {
			return fmt.Errorf("%s %q, want %s %q", have[i].Type, have[i].Kv.Key, want[i].Type, want[i].Kv.Key)
		}
		if err := sameRecord(have[i].Kv, want[i].Kv); err != nil {
			return err
		}
	}
	return nil
}

func sameRecord(have, want *mvccpb.KeyValue) error {
	if bytes.Equal(have.Key, want.Key) && bytes.Equal(have.Value, want.Value) && have.CreateRevision == want.CreateRevision &&
		have.ModRevision == want.ModRevision && have.Version == want.Version && have.Lease == want.Lease {
		return nil
	}
	return fmt.Errorf("have %s, want %s", describe(have), describe(want))
}

func describe(r *mvccpb.KeyValue) string {
	return fmt.Sprintf("%q = %.8x… of %d bytes, created %d, changed %d, version %d, lease %x",
		r.Key, r.Value, len(r.Value), r.CreateRevision, r.ModRevision, r.Version, r.Lease)
}
