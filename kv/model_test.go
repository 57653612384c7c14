// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// model is the store told simply: every change ever made, in order.
type model struct {
	changes   []change
	revision  int64
	compacted int64
}

func newModel() *model { return &model{revision: 1, compacted: -1} }

// at returns the newest record of each key at rev, in key order.
func (m *model) at(r Range, rev int64) []Record {
	newest := make(map[string]Record)
	for _, c := range m.changes {
		if c.main <= rev && r.contains(c.key) {
			newest[string(c.key)] = c.record
		}
	}
	var out []Record
	for _, record := range newest {
		if record != nil {
			out = append(out, record)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return bytes.Compare(a.Key(), b.Key()) })
	return out
}

func (m *model) put(sub uint32, key, value string) {
	create, version := m.revision+1, int64(1)
	if old := m.at(Range{Key: []byte(key)}, m.revision+1); len(old) > 0 {
		create, version = old[0].CreateRevision(), old[0].Version()+1
	}
	record := encodeRecord([]byte(key), []byte(value), create, m.revision+1, version, 0)
	m.changes = append(m.changes, change{revision: revision{m.revision + 1, sub}, key: []byte(key), record: record})
}

func (m *model) delete(sub uint32, key string) {
	m.changes = append(m.changes, change{revision: revision{m.revision + 1, sub}, key: []byte(key), deleted: true})
}

// hash is etcd's rule, from the changes as etcd's own store would hold them:
// by revision, those that a compaction removes left out.
func (m *model) hash(rev int64) uint32 {
	keep := make(map[revision]bool)
	newest := make(map[string]change)
	for _, c := range m.changes {
		if c.main <= rev {
			newest[string(c.key)] = c
		}
	}
	for _, c := range newest {
		if !c.deleted {
			keep[c.revision] = true
		}
	}
	crc := crc32.New(castagnoli)
	crc.Write([]byte("key"))
	for _, c := range m.changes {
		if c.main > rev || c.main <= m.compacted && len(keep) > 0 && !keep[c.revision] ||
			c.main <= m.compacted && m.removedBy(c) || c.main == m.compacted && c.deleted {
			continue
		}
		k := binary.BigEndian.AppendUint64(nil, uint64(c.main))
		k = binary.BigEndian.AppendUint64(append(k, '_'), uint64(c.sub))
		v := []byte(c.record)
		if c.deleted {
			k, v = append(k, 't'), encodeRecord(c.key, nil, 0, 0, 0, 0)
		}
		crc.Write(k)
		crc.Write(v)
	}
	return crc.Sum32()
}

// removedBy says whether the compaction has removed a change.
func (m *model) removedBy(c change) bool {
	if c.deleted {
		return c.main < m.compacted
	}
	for _, later := range m.changes {
		if later.main > c.main && later.main <= m.compacted && bytes.Equal(later.key, c.key) {
			return true
		}
	}
	return false
}

// pair is a store and the model that it must agree with.
type pair struct {
	t     *testing.T
	rand  *rand.Rand
	fs    *vfs.MemFS
	store *Store
	model *model
	index uint64
	// saved are the models by applied index, to find the one that a crash
	// leaves behind.
	saved map[uint64]model
}

func (p *pair) key() string { return fmt.Sprintf("%c%d", 'a'+p.rand.IntN(3), p.rand.IntN(6)) }

func (p *pair) someRange() Range {
	a, b := p.key(), p.key()
	switch p.rand.IntN(5) {
	case 0:
		return Range{Key: []byte(a)}
	case 1:
		return Range{Key: []byte(a), End: []byte{0}}
	case 2:
		return everything
	}
	return Range{Key: []byte(a), End: []byte(b)}
}

// write commits a batch of a few transactions, comparing what each of them
// reads along the way.
func (p *pair) write() {
	b := p.store.NewBatch()
	defer b.Close()
	for range 1 + p.rand.IntN(4) {
		txn := b.Begin()
		touched := make(map[string]bool)
		sub := uint32(0)
		for range p.rand.IntN(5) {
			switch key := p.key(); p.rand.IntN(4) {
			case 0, 1:
				if touched[key] {
					continue
				}
				touched[key] = true
				value := fmt.Sprint(p.rand.IntN(1000))
				txn.Put([]byte(key), []byte(value), 0)
				p.model.put(sub, key, value)
				sub++
			case 2:
				sub = p.deleteRange(txn, sub, touched)
			case 3:
				p.compareRead(txn.Revision(), txn.Range)
			}
		}
		if sub > 0 {
			p.model.revision++
		}
		if got := txn.End(); got != p.model.revision {
			p.t.Fatalf("a transaction ends at revision %d, want %d", got, p.model.revision)
		}
	}
	p.index++
	if err := b.Commit(p.index); err != nil {
		p.t.Fatal(err)
	}
	p.save()
}

func (p *pair) deleteRange(txn *Txn, sub uint32, touched map[string]bool) uint32 {
	r := p.someRange()
	rev := p.model.revision
	if sub > 0 {
		rev++
	}
	doomed := p.model.at(r, rev)
	for _, record := range doomed {
		if touched[string(record.Key())] {
			return sub // the doors refuse to change a key twice in one transaction
		}
	}
	removed := txn.Delete(r, true)
	if fmt.Sprintf("%x", removed) != fmt.Sprintf("%x", doomed) {
		p.t.Fatalf("delete %q removed %q, want %q", r, removed, doomed)
	}
	for _, record := range doomed {
		touched[string(record.Key())] = true
		p.model.delete(sub, string(record.Key()))
		sub++
	}
	return sub
}

func (p *pair) save() {
	m := *p.model
	m.changes = slices.Clone(m.changes)
	p.saved[p.index] = m
}

// compareRead reads something with random options from both.
func (p *pair) compareRead(current int64, read func(Range, ReadOptions) (Result, error)) {
	r := p.someRange()
	o := ReadOptions{
		Limit: int64(p.rand.IntN(6)) - 1, KeysOnly: p.rand.IntN(4) == 0, CountOnly: p.rand.IntN(6) == 0,
		SortOrder: pb.RangeRequest_SortOrder(p.rand.IntN(3)), SortTarget: pb.RangeRequest_SortTarget(p.rand.IntN(5)),
	}
	if p.rand.IntN(2) == 0 {
		o.Revision = int64(p.rand.IntN(int(current)+3)) - 1
	}
	if p.rand.IntN(4) == 0 {
		o.MinMod, o.MaxCreate = int64(p.rand.IntN(int(current)+1)), int64(p.rand.IntN(int(current)+1))
	}
	got, err := read(r, o)
	want, wantErr := p.model.read(r, o, current)
	if got.Frames != nil {
		again := frames{}
		for _, record := range got.Records {
			again.add(record)
		}
		if !bytes.Equal(bytes.Join(got.Frames, nil), bytes.Join(again.blocks, nil)) {
			p.t.Fatalf("range %q %+v: frames %x do not hold %x", r, o, got.Frames, got.Records)
		}
		got.Frames = nil
	}
	o.FramesOnly = true
	if lean, err := read(r, o); err == nil && lean.Frames != nil {
		again := frames{}
		for _, record := range got.Records {
			again.add(record)
		}
		if !bytes.Equal(bytes.Join(lean.Frames, nil), bytes.Join(again.blocks, nil)) || lean.More != got.More || lean.Count != got.Count {
			p.t.Fatalf("range %q %+v: frames alone differ: %+v", r, o, lean)
		}
	} else if err == nil && len(lean.Records) != len(got.Records) {
		p.t.Fatalf("range %q %+v: %d records instead of %d", r, o, len(lean.Records), len(got.Records))
	}
	if !errors.Is(err, wantErr) || fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Fatalf("range %q %+v at %d (compacted %d):\n got %+v %v\nwant %+v %v", r, o, current, p.model.compacted, got, err, want, wantErr)
	}
}

// read is etcd's order of work: read, limit if nothing is sorted or bounded,
// filter, sort, limit again, cut the values.
func (m *model) read(r Range, o ReadOptions, current int64) (Result, error) {
	res := Result{Revision: current}
	rev := o.Revision
	switch {
	case rev > current:
		return res, ErrFuture
	case rev <= 0:
		rev = current
	case rev < m.compacted:
		return res, ErrCompacted
	}
	all := m.at(r, rev)
	res.Count = int64(len(all))
	if o.CountOnly {
		return res, nil
	}
	ordered := o.SortOrder == pb.RangeRequest_NONE || o.SortTarget == pb.RangeRequest_KEY && o.SortOrder == pb.RangeRequest_ASCEND
	if ordered && !o.bounded() && o.Limit > 0 && int64(len(all)) > o.Limit+1 {
		all = all[:o.Limit+1]
	}
	for _, record := range all {
		if o.within(record) {
			res.Records = append(res.Records, record)
		}
	}
	if o.sorted() {
		sortRecords(res.Records, o)
	}
	if o.Limit > 0 && int64(len(res.Records)) > o.Limit {
		res.Records, res.More = res.Records[:o.Limit], true
	}
	if o.KeysOnly {
		for i, record := range res.Records {
			if o.SortTarget == pb.RangeRequest_VALUE {
				res.Records[i] = record.withLeaseOnly()
			} else {
				res.Records[i] = record.withoutValue()
			}
		}
	}
	return res, nil
}

func (p *pair) compareEvents() {
	r, from := p.someRange(), int64(p.rand.IntN(int(p.model.revision)+2))
	var got []Event
	for next := from; next <= p.model.revision; {
		events, n, err := p.store.Events(r, next, p.model.revision, 1+p.rand.IntN(200))
		if from < p.model.compacted {
			if !errors.Is(err, ErrCompacted) {
				p.t.Fatalf("events from %d, compacted %d: %v", from, p.model.compacted, err)
			}
			return
		}
		if err != nil || n <= next {
			p.t.Fatalf("events from %d: next %d, %v", next, n, err)
		}
		got, next = append(got, events...), n
	}
	var want []Event
	for _, c := range p.model.changes {
		switch {
		case c.main < from || !r.contains(c.key) || c.main < p.model.compacted && p.model.removedBy(c):
		case c.deleted:
			want = append(want, Event{Delete: true, Record: encodeRecord(c.key, nil, 0, c.main, 0, 0)})
		default:
			want = append(want, Event{Record: c.record})
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Fatalf("events of %v from %d:\n got %v\nwant %v", r, from, got, want)
	}
}

func (p *pair) compareHash() {
	rev := p.model.revision
	if p.rand.IntN(2) == 0 && p.model.compacted > 0 {
		rev = p.model.compacted + p.rand.Int64N(p.model.revision-p.model.compacted+1)
	}
	h, err := p.store.HashKV(rev)
	if err != nil || h.Hash != p.model.hash(rev) {
		p.t.Fatalf("hash at %d of %d, compacted %d: %x %v, want %x", rev, p.model.revision, p.model.compacted, h.Hash, err, p.model.hash(rev))
	}
}

func (p *pair) compact() {
	rev := int64(p.rand.IntN(int(p.model.revision)+2)) - 1
	b := p.store.NewBatch()
	defer b.Close()
	done, err := b.Compact(rev)
	switch {
	case rev <= p.model.compacted:
		if !errors.Is(err, ErrCompacted) {
			p.t.Fatalf("compact %d again: %v", rev, err)
		}
		return
	case rev > p.model.revision:
		if !errors.Is(err, ErrFuture) {
			p.t.Fatalf("compact %d of %d: %v", rev, p.model.revision, err)
		}
		return
	case err != nil:
		p.t.Fatal(err)
	}
	p.index++
	if err := b.Commit(p.index); err != nil {
		p.t.Fatal(err)
	}
	p.model.compacted = rev
	p.save()
	if p.rand.IntN(2) == 0 {
		<-done
	}
}

// crash throws away what was not flushed; what is left must be a prefix.
func (p *pair) crash() {
	durable := p.store.DurableIndex()
	p.fs = p.fs.CrashClone(vfs.CrashCloneCfg{})
	_ = p.store.Close() // the old store writes to a disk that nobody reads
	p.store = open(p.t, p.fs)
	p.index = p.store.AppliedIndex()
	if p.index < durable {
		p.t.Fatalf("applied index %d after a crash, %d was durable", p.index, durable)
	}
	left := p.savedAt(p.index)
	p.model = left
	if p.store.Revision() != left.revision || p.store.Compacted() != left.compacted {
		p.t.Fatalf("after a crash: revision %d compacted %d, want %d %d", p.store.Revision(), p.store.Compacted(), left.revision, left.compacted)
	}
}

// move goes on with a store that was behind and got a checkpoint: what a crash
// would have left of this one, or an empty one.
func (p *pair) move() {
	c, err := p.store.Checkpoint()
	if err != nil {
		p.t.Fatal(err)
	}
	behind := vfs.NewCrashableMem()
	if p.rand.IntN(2) == 0 {
		behind = p.fs.CrashClone(vfs.CrashCloneCfg{})
	}
	p.write() // the checkpoint is of before
	p.model, p.index = p.savedAt(c.Index()), c.Index()
	var stream bytes.Buffer
	if n, err := c.WriteTo(&stream); err != nil || n != int64(stream.Len()) {
		p.t.Fatalf("wrote %d of %d: %v", n, stream.Len(), err)
	}
	if err := c.Close(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.store.Close() // the old store writes to a disk that nobody reads
	p.fs, p.store = behind, open(p.t, behind)
	if err := restore(p.store, &stream); err != nil {
		p.t.Fatal(err)
	}
	if at, durable := p.store.AppliedIndex(), p.store.DurableIndex(); at != p.index || durable != p.index {
		p.t.Fatalf("restored to index %d, durable %d, want %d", at, durable, p.index)
	}
}

func (p *pair) savedAt(index uint64) *model {
	m, known := p.saved[index]
	if !known {
		p.t.Fatalf("index %d is none that was committed", index)
	}
	m.changes = slices.Clone(m.changes)
	return &m
}

func (p *pair) step() {
	switch p.rand.IntN(21) {
	case 20:
		p.move()
	case 0:
		p.crash()
	case 1:
		if err := p.store.Flush(); err != nil {
			p.t.Fatal(err)
		}
	case 2:
		p.compact()
	case 3:
		p.compareHash()
	case 4, 5:
		p.compareEvents()
	case 6, 7, 8, 9:
		p.compareRead(p.model.revision, p.store.Range)
	default:
		p.write()
	}
}

func TestTheStoreAgreesWithASimpleModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			p := &pair{t: t, rand: rand.New(rand.NewPCG(seed, 1)), fs: fs, store: open(t, fs), model: newModel(), saved: make(map[uint64]model)}
			p.save()
			for range 300 {
				p.step()
			}
			if err := p.store.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
