// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// model is the keys at a revision, as etcd's API describes them.
type model map[string]*mvccpb.KeyValue

// event is one change, in words, so that two can be compared and shown.
type event struct {
	revision int64
	key      string
	text     string
}

func putEvent(kv *mvccpb.KeyValue) event {
	return event{kv.ModRevision, string(kv.Key), "put " + words(kv)}
}

func delEvent(key string, revision int64) event {
	return event{revision, key, "delete " + key}
}

func (m model) holds(i condition) bool {
	kv := m[i.key]
	if kv == nil {
		kv = &mvccpb.KeyValue{}
		if i.target == pb.Compare_VALUE {
			return false
		}
	}
	switch i.target {
	case pb.Compare_CREATE:
		return kv.CreateRevision == i.number
	case pb.Compare_MOD:
		return kv.ModRevision == i.number
	case pb.Compare_VERSION:
		return kv.Version == i.number
	default:
		return brief(kv.Value) == i.value
	}
}

// carryOut does a request at a revision and returns what a client would be
// told, and the events. It changes the model; undo takes that back.
func (m model) carryOut(r request, revision int64) (a answer, events []event, undo func()) {
	before := map[string]*mvccpb.KeyValue{}
	undo = func() {
		for key, kv := range before {
			if m[key] = kv; kv == nil {
				delete(m, key)
			}
		}
	}
	a = answer{revision: revision, succeeded: !slices.ContainsFunc(r.ifs, func(i condition) bool { return !m.holds(i) })}
	steps := r.then
	if !a.succeeded {
		steps = r.otherwise
	}
	for _, s := range steps {
		switch s.verb {
		case put:
			a.add(m.put(s, revision, before, &events), true)
		case get:
			a.got(m.get(s))
		case del:
			words, n := m.del(s, revision, before, &events)
			a.add(words, n > 0)
		}
	}
	return a, events, undo
}

func (m model) put(s step, revision int64, before model, events *[]event) string {
	old := m[s.key]
	before[s.key] = old
	kv := &mvccpb.KeyValue{
		Key: []byte(s.key), Value: []byte(brief(s.value)), Lease: s.lease,
		CreateRevision: revision, ModRevision: revision, Version: 1,
	}
	if old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	m[s.key] = kv
	*events = append(*events, putEvent(kv))
	if !s.prev {
		old = nil
	}
	return putWords(old)
}

func (m model) get(s step) *pb.RangeResponse {
	keys := m.match(s)
	r := &pb.RangeResponse{Count: int64(len(keys))}
	if s.limit > 0 && int64(len(keys)) > s.limit {
		keys, r.More = keys[:s.limit], true
	}
	for _, key := range keys {
		r.Kvs = append(r.Kvs, m[key])
	}
	return r
}

func (m model) del(s step, revision int64, before model, events *[]event) (string, int) {
	keys := m.match(s)
	var prev []*mvccpb.KeyValue
	for _, key := range keys {
		before[key] = m[key]
		if s.prev {
			prev = append(prev, m[key])
		}
		delete(m, key)
		*events = append(*events, delEvent(key, revision))
	}
	return delWords(int64(len(keys)), prev), len(keys)
}

// match is the keys that a step is about, in order.
func (m model) match(s step) []string {
	if s.prefix {
		return m.under(s.key)
	}
	if m[s.key] == nil {
		return nil
	}
	return []string{s.key}
}

func (m model) under(prefix string) (keys []string) {
	for key := range maps.Keys(m) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// of is the keys of a lease.
func (m model) of(lease int64) (keys []string) {
	for key, kv := range m {
		if kv.Lease == lease {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// follow applies what the log says of a change, whoever made it.
func (m model) follow(c change) error {
	key := string(c.kv.Key)
	if c.deleted {
		if m[key] == nil {
			return fmt.Errorf("%s is deleted and was not there", key)
		}
		delete(m, key)
		return nil
	}
	m[key] = c.kv
	return nil
}
