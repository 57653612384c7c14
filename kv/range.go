// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Range selects keys as etcd does. End empty: the one Key. End a single zero
// byte: all keys from Key on. Otherwise: Key up to End, End not included;
// nothing if End is not above Key.
type Range struct {
	Key, End []byte
}

// open says whether the range has no upper end.
func (r Range) open() bool { return len(r.End) == 1 && r.End[0] == 0 }

// first is the lowest key that may be in the range. A single zero byte stands
// for the very first key, and no key is lower.
func (r Range) first() []byte { return r.Key }

// last is the lowest key above the range, which is not open.
func (r Range) last() []byte {
	if len(r.End) == 0 {
		return append(bytes.Clone(r.Key), 0)
	}
	return r.End
}

func (r Range) empty() bool {
	return len(r.End) > 0 && !r.open() && bytes.Compare(r.Key, r.End) >= 0
}

func (r Range) contains(key []byte) bool {
	if len(r.End) == 0 {
		return bytes.Equal(key, r.Key)
	}
	return bytes.Compare(key, r.Key) >= 0 && (r.open() || bytes.Compare(key, r.End) < 0)
}

// ReadOptions says what to read; the zero value is everything, now.
type ReadOptions struct {
	Revision, Limit                      int64 // zero or less: the present, no limit
	KeysOnly, CountOnly                  bool
	SortOrder                            pb.RangeRequest_SortOrder
	SortTarget                           pb.RangeRequest_SortTarget
	MinMod, MaxMod, MinCreate, MaxCreate int64 // zero: no bound

	// FramesOnly leaves Records out wherever Frames hold the same.
	FramesOnly bool

	// Step is asked before the read takes a block of memory, with the block's
	// size, and with zero each time it has gone through some more keys. Its
	// error ends the read. A read that is begun anew asks again for what it
	// takes. Nil: the read goes on whatever it takes.
	Step func(bytes int) error
}

// Result is what a read found.
type Result struct {
	Records  []Record
	Count    int64 // all keys in the range at that revision, whatever the limit and the bounds
	More     bool  // the limit cut the answer
	Revision int64 // the store's present revision, not the one asked for

	// Frames hold Records once more, in the same memory, as they follow one
	// another on the wire: as the field kvs of an etcdserverpb.RangeResponse.
	// They are nil if the records were put into another order or cut. See
	// [Recycle].
	Frames [][]byte
}

// at returns the revision to read at.
func (o ReadOptions) at(current, compacted int64) (int64, error) {
	switch {
	case o.Revision > current:
		return 0, ErrFuture
	case o.Revision <= 0:
		return current, nil
	case o.Revision < compacted:
		return 0, ErrCompacted
	}
	return o.Revision, nil
}

// sorted says whether records are sorted after reading. A target without an
// order sorts ascending.
func (o ReadOptions) sorted() bool {
	return o.SortTarget != pb.RangeRequest_KEY || o.SortOrder == pb.RangeRequest_DESCEND
}

// framesSuffice says whether records are wanted neither for themselves nor to
// be put in order or cut: a limit applies while reading then.
func (o ReadOptions) framesSuffice() bool {
	return o.FramesOnly && !o.sorted() && (o.Limit <= 0 || o.most() == o.Limit)
}

func (o ReadOptions) bounded() bool {
	return o.MinMod != 0 || o.MaxMod != 0 || o.MinCreate != 0 || o.MaxCreate != 0
}

// most returns how many records to read, zero for all. The limit applies while
// reading unless an order or a bound is asked for. A target without an order
// does not count as one: etcd reads one record beyond the limit in key order,
// and then sorts these.
func (o ReadOptions) most() int64 {
	switch {
	case o.Limit <= 0 || o.bounded():
		return 0
	case o.SortTarget == pb.RangeRequest_KEY && o.SortOrder != pb.RangeRequest_DESCEND:
		return o.Limit
	case o.SortOrder == pb.RangeRequest_NONE && o.Limit < math.MaxInt64:
		return o.Limit + 1
	}
	return 0
}

// within applies the revision bounds.
func (o ReadOptions) within(r Record) bool {
	mod, create := r.ModRevision(), r.CreateRevision()
	return (o.MinMod == 0 || mod >= o.MinMod) && (o.MaxMod == 0 || mod <= o.MaxMod) &&
		(o.MinCreate == 0 || create >= o.MinCreate) && (o.MaxCreate == 0 || create <= o.MaxCreate)
}

// collector gathers a read's records as they come in key order.
type collector struct {
	options ReadOptions
	most    int64 // options.most()
	bounded bool  // options.bounded()
	framed  bool  // options.framesSuffice()
	records []Record
	kept    int64 // how many records there are, in records or in frames alone
	frames  frames
	count   int64
	walked  int // keys met since Step was asked last

	// piece makes the read one piece of several: it ends at the first key that
	// does not fit, with errFull, instead of counting the rest, and it is full
	// once it has so many bytes.
	piece, bytes int
}

func newCollector(o ReadOptions) *collector {
	return &collector{options: o, most: o.most(), bounded: o.bounded(), framed: o.framesSuffice()}
}

// stride is how many keys a read goes through before it asks whether to go on.
const stride = 256

// walk notes that the read has met one more key.
func (c *collector) walk() error {
	if c.walked++; c.walked < stride || c.options.Step == nil {
		return nil
	}
	c.walked = 0
	return c.options.Step(0)
}

var errFull = errors.New("kv: enough was read")

// full says whether further records would be cut off anyway.
func (c *collector) full() bool {
	return c.options.CountOnly || c.most > 0 && c.kept >= c.most || c.piece > 0 && c.bytes >= c.piece
}

// add takes in a copy of r.
func (c *collector) add(r Record) error {
	c.count++
	if c.full() || c.bounded && !c.options.within(r) {
		return nil
	}
	if c.options.KeysOnly && c.options.SortTarget != pb.RangeRequest_VALUE {
		r = r.withoutValue()
	}
	if size := c.frames.grow(r); size > 0 && c.options.Step != nil {
		if err := c.options.Step(size); err != nil {
			return err
		}
	}
	r = c.frames.add(r)
	c.bytes += len(r)
	if c.kept++; !c.framed {
		c.records = append(c.records, r)
	}
	return nil
}

func (c *collector) result(rev int64) Result {
	o := c.options
	res := Result{Records: c.records, Count: c.count, Revision: rev}
	if o.CountOnly {
		return res
	}
	if !o.sorted() {
		res.Frames = c.frames.blocks
	} else {
		sortRecords(res.Records, o)
	}
	res.More = o.most() > 0 && c.count > o.Limit
	if o.Limit > 0 && int64(len(res.Records)) > o.Limit {
		res.Records, res.More, res.Frames = res.Records[:o.Limit], true, nil
	}
	if o.KeysOnly && o.SortTarget == pb.RangeRequest_VALUE {
		for i, r := range res.Records {
			res.Records[i] = r.withLeaseOnly()
		}
	}
	return res
}

func sortRecords(records []Record, o ReadOptions) {
	by := map[pb.RangeRequest_SortTarget]func(a, b Record) int{
		pb.RangeRequest_KEY:     func(a, b Record) int { return bytes.Compare(a.Key(), b.Key()) },
		pb.RangeRequest_VERSION: func(a, b Record) int { return cmp.Compare(a.Version(), b.Version()) },
		pb.RangeRequest_CREATE:  func(a, b Record) int { return cmp.Compare(a.CreateRevision(), b.CreateRevision()) },
		pb.RangeRequest_MOD:     func(a, b Record) int { return cmp.Compare(a.ModRevision(), b.ModRevision()) },
		pb.RangeRequest_VALUE:   func(a, b Record) int { return bytes.Compare(a.Value(), b.Value()) },
	}[o.SortTarget]
	if by == nil {
		return // the doors refuse unknown targets
	}
	order := 1
	if o.SortOrder == pb.RangeRequest_DESCEND {
		order = -1
	}
	slices.SortStableFunc(records, func(a, b Record) int { return order * by(a, b) })
}

// Range reads keys. It fails with ErrCompacted or ErrFuture for a revision that
// is not there; Result.Revision is filled even then.
func (s *Store) Range(r Range, o ReadOptions) (Result, error) {
	s.metrics.ranges.Inc()
	for {
		rev := s.Revision()
		main, err := o.at(rev, s.Compacted())
		if err != nil {
			return Result{Revision: rev}, err
		}
		c := newCollector(o)
		err = s.read(r, main, c)
		if errors.Is(err, ErrCompacted) && o.Revision <= 0 {
			continue // overtaken by newer revisions and their compaction
		}
		if err != nil {
			return Result{Revision: rev}, err
		}
		return c.result(rev), nil
	}
}

// read fills c with the keys of r as they were at main.
func (s *Store) read(r Range, main int64, c *collector) (err error) {
	it, err := s.readIter(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	// A compaction may have come between the choice of main and the iterator.
	if main < s.Compacted() {
		return ErrCompacted
	}
	if len(r.End) == 0 {
		return s.readOne(it, r.Key, main, c)
	}
	return s.walkVersions(it, r, main, func(_ []byte, deleted bool, record func() (Record, error)) error {
		if err := c.walk(); err != nil || deleted {
			return err
		}
		if c.full() {
			c.count++
			if c.piece > 0 {
				return errFull
			}
			return nil
		}
		rec, err := record()
		if err != nil {
			return err
		}
		return c.add(rec)
	})
}

// readIter returns an iterator over the keys of r.
func (s *Store) readIter(r Range) (*pebble.Iterator, error) {
	o := &pebble.IterOptions{LowerBound: appendPrefix(nil, r.first()), UpperBound: []byte{spaceKeys + 1, 0}, UseL6Filters: len(r.End) == 0}
	if !r.open() && !r.empty() {
		o.UpperBound = appendPrefix(nil, r.last())
	}
	it, err := s.newIter(o)
	if err != nil {
		return nil, s.broken(err)
	}
	return it, nil
}

func (s *Store) readOne(it *pebble.Iterator, key []byte, main int64, c *collector) error {
	if !it.SeekPrefixGE(appendVersioned(nil, key, newestUpTo(main))) {
		if err := it.Error(); err != nil {
			return s.broken(err)
		}
		return nil
	}
	_, _, deleted, err := splitVersioned(it.Key())
	if err != nil {
		return s.broken(err)
	}
	if deleted {
		return nil
	}
	if c.options.CountOnly {
		c.count++
		return nil
	}
	record, err := s.viewAt(it)
	if err != nil {
		return err
	}
	return c.add(record)
}
