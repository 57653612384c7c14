// SPDX-License-Identifier: Apache-2.0

package kv

// Txn is one transaction of a Batch: all it changes shares one revision. A key
// is changed at most once in a transaction. Transactions of a batch follow one
// another; each sees what came before.
type Txn struct {
	batch *Batch
	begin int64 // the revision before
	sub   uint32

	ranges int
}

// Begin starts a transaction; End ends it.
func (b *Batch) Begin() *Txn { return &Txn{batch: b, begin: b.revision} }

// Revision returns what a response's header shows: the new revision if anything
// has changed, otherwise the present one.
func (t *Txn) Revision() int64 {
	if t.sub > 0 {
		return t.begin + 1
	}
	return t.begin
}

// Compacted is [Store.Compacted] as the batch has it so far.
func (t *Txn) Compacted() int64 { return t.batch.compacted }

// End closes the transaction and returns Revision.
func (t *Txn) End() int64 {
	t.batch.revision = t.Revision()
	if t.sub > 0 && int(t.sub)+t.ranges > 1 {
		t.batch.txns++
	}
	return t.batch.revision
}

// Latest returns the newest record of a key, with the transaction's own changes.
func (t *Txn) Latest(key []byte) (Record, bool) {
	r, err := t.batch.store.writer.latest(key)
	if err != nil {
		_ = t.batch.broke(err) // Commit returns it
		return nil, false
	}
	return r, r != nil
}

// Put stores a value and returns the record that it replaces, nil if there was
// none. It keeps neither key nor value.
func (t *Txn) Put(key, value []byte, lease int64) (previous Record) {
	previous, found := t.Latest(key)
	main := t.begin + 1
	create, version := main, int64(1)
	if found {
		create, version = previous.CreateRevision(), previous.Version()+1
	}
	t.write(key, encodeRecord(key, value, create, main, version, lease), Event{})
	return previous
}

// Delete removes the keys of a range and returns their last records, in key
// order, without their values unless these are asked for: a range may hold more
// than fits in memory twice.
func (t *Txn) Delete(r Range, values bool) (removed []Record) {
	if len(r.End) == 0 {
		if record, found := t.Latest(r.Key); found {
			removed = append(removed, record)
		}
	} else {
		var copies frames
		_ = t.batch.broke(t.batch.store.writer.walk(r, t.Revision(), true, func(_ []byte, record Record) error {
			if !values {
				record = record.withLeaseOnly()
			}
			removed = append(removed, copies.add(record))
			return nil
		})) // Commit returns it
	}
	for _, record := range removed {
		key := record.Key()
		t.write(key, nil, Event{Delete: true, Record: encodeRecord(key, nil, 0, t.begin+1, 0, 0)})
	}
	return removed
}

// write adds a new version of a key, nil for its deletion.
func (t *Txn) write(key []byte, record Record, event Event) {
	b := t.batch
	main := t.begin + 1
	deleted := record == nil
	if !deleted {
		event = Event{Record: record}
	}
	b.set(appendVersioned(nil, key, versionOf(main, deleted)), encodeVersioned(t.sub, record))
	b.set(historyKey(revision{main, t.sub}), encodeHistory(key, deleted))
	b.store.writer.note(key, version{main: main, record: record})
	b.events = append(b.events, event)
	t.sub++
}

// Range reads with the transaction's own changes. Result.Revision is Revision.
func (t *Txn) Range(r Range, o ReadOptions) (Result, error) {
	t.ranges++
	t.batch.store.metrics.ranges.Inc()
	rev := t.Revision()
	main, err := o.at(rev, t.batch.compacted)
	if err != nil {
		return Result{Revision: rev}, err
	}
	c := newCollector(o)
	if len(r.End) == 0 && main == rev {
		if record, found := t.Latest(r.Key); found {
			err = c.add(record)
		}
	} else {
		err = t.batch.store.writer.walk(r, main, !o.CountOnly, func(_ []byte, record Record) error {
			return c.add(record)
		})
	}
	if err != nil {
		return Result{Revision: rev}, t.batch.broke(err)
	}
	return c.result(rev), nil
}
