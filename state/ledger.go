// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The ledger keeps buckets of key and value beside the users' keys, for the
// parts of the daemon that must remember something as a cluster. It has no
// revisions and nobody can watch it. An item may expire; expiry is decided by
// the time that the proposer put into the command, so that all members agree.
//
// Item:   tableLedger  <bucket> 00 <key>            -> version, expiry, value
// Expiry: tableExpiry  <expiry> <bucket> 00 <key>   -> nothing

// Condition is what must hold for a ledger commit to happen.
type Condition byte

// The conditions of an [Op].
const (
	Always Condition = iota
	Absent           // the key has no item
	Equals           // the key's item is Op.Old
)

// Op is one change of a ledger commit, or only a condition when Check is set.
type Op struct {
	Bucket  string
	Key     []byte
	Value   []byte    // nil deletes
	Expires time.Time // zero: never; kept in seconds
	If      Condition
	Old     []byte
	Check   bool // test the condition, change nothing
}

// Item is one entry of a bucket.
type Item struct {
	Key, Value []byte
}

const ledgerVersion = 1

// LedgerCommand returns the command that applies all ops, or none when a
// condition does not hold; its result is then ErrConflict. Conditions see the
// state before the first op. now decides which items have expired.
func LedgerCommand(now time.Time, ops []Op) []byte {
	b := appendPrefix(nil, kindLedgerCommit, Identity{Root: true})
	b = binary.AppendVarint(b, now.Unix())
	for _, op := range ops {
		flags := byte(op.If)
		if op.Value == nil {
			flags |= 1 << 6
		}
		if op.Check {
			flags |= 1 << 7
		}
		b = append(b, flags)
		b = appendField(b, []byte(op.Bucket))
		b = appendField(b, op.Key)
		b = appendField(b, op.Value)
		b = appendField(b, op.Old)
		b = binary.AppendVarint(b, unixOrZero(op.Expires))
	}
	return b
}

// LedgerExpireCommand returns the command that collects at most max items that
// have expired at now.
func LedgerExpireCommand(now time.Time, max int) []byte {
	b := appendPrefix(nil, kindLedgerExpire, Identity{Root: true})
	b = binary.AppendVarint(b, now.Unix())
	return binary.AppendUvarint(b, uint64(max))
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func appendField(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// fields reads what appendField and AppendVarint wrote; the first cut or
// malformed one ends it with an error.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) bytes() []byte {
	n, size := binary.Uvarint(f.rest)
	if f.err != nil || size <= 0 || n > uint64(len(f.rest)-size) {
		f.cut()
		return nil
	}
	v := f.rest[size : size+int(n)]
	f.rest = f.rest[size+int(n):]
	return v
}

func (f *fields) varint() int64 {
	v, size := binary.Varint(f.rest)
	if f.err != nil || size <= 0 {
		f.cut()
		return 0
	}
	f.rest = f.rest[size:]
	return v
}

func (f *fields) flags() byte {
	if f.err != nil || len(f.rest) == 0 {
		f.cut()
		return 0
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

func (f *fields) cut() {
	f.rest, f.err = nil, fmt.Errorf("%w: cut ledger field", ErrCommand)
}

func decodeOps(body []byte) (now int64, ops []Op, err error) {
	f := fields{rest: body}
	now = f.varint()
	for len(f.rest) > 0 && f.err == nil {
		flags := f.flags()
		op := Op{If: Condition(flags & 0x3f), Check: flags&(1<<7) != 0}
		op.Bucket, op.Key = string(f.bytes()), f.bytes()
		op.Value = f.bytes()
		if flags&(1<<6) != 0 {
			op.Value = nil
		}
		op.Old = f.bytes()
		if expires := f.varint(); expires != 0 {
			op.Expires = time.Unix(expires, 0)
		}
		ops = append(ops, op)
	}
	return now, ops, f.err
}

func ledgerKey(bucket string, key []byte) []byte {
	return slices.Concat([]byte(bucket), []byte{0}, key)
}

func expiryKey(expires int64, item []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(expires)), item...)
}

func encodeItem(expires int64, value []byte) []byte {
	return append(binary.AppendVarint([]byte{ledgerVersion}, expires), value...)
}

func decodeItem(v []byte) (expires int64, value []byte, err error) {
	if len(v) < 2 || v[0] != ledgerVersion {
		return 0, nil, fmt.Errorf("state: ledger item of unknown format (%d bytes)", len(v))
	}
	expires, n := binary.Varint(v[1:])
	if n <= 0 {
		return 0, nil, fmt.Errorf("state: ledger item without an expiry")
	}
	return expires, v[1+n:], nil
}

func expired(expires, now int64) bool { return expires != 0 && expires <= now }

func (a *applier) ledgerCommit(body []byte) (Reply, error) {
	now, ops, err := decodeOps(body)
	if err != nil {
		return Reply{}, err
	}
	for _, op := range ops {
		if err := a.ledgerCheck(now, op); err != nil {
			return Reply{}, err
		}
	}
	for _, op := range ops {
		if op.Check {
			continue
		}
		if err := a.ledgerSet(op); err != nil {
			return Reply{}, err
		}
	}
	return Reply{Revision: a.revision()}, nil
}

func (a *applier) ledgerCheck(now int64, op Op) error {
	if op.If == Always {
		return nil
	}
	raw, err := a.batch.Get(tableLedger, ledgerKey(op.Bucket, op.Key))
	if err != nil {
		return err
	}
	var value []byte
	present := raw != nil
	if present {
		expires, v, err := decodeItem(raw)
		if err != nil {
			return err
		}
		value, present = v, !expired(expires, now)
	}
	if (op.If == Absent && present) || (op.If == Equals && (!present || !bytes.Equal(value, op.Old))) {
		return ErrConflict
	}
	return nil
}

func (a *applier) ledgerSet(op Op) error {
	a.touch(op.Bucket)
	item := ledgerKey(op.Bucket, op.Key)
	raw, err := a.batch.Get(tableLedger, item)
	if err != nil {
		return err
	}
	if raw != nil {
		expires, _, err := decodeItem(raw)
		if err != nil {
			return err
		}
		if expires != 0 {
			a.batch.Delete(tableExpiry, expiryKey(expires, item))
		}
	}
	if op.Value == nil {
		a.batch.Delete(tableLedger, item)
		return nil
	}
	expires := unixOrZero(op.Expires)
	a.batch.Set(tableLedger, item, encodeItem(expires, op.Value))
	if expires != 0 {
		a.batch.Set(tableExpiry, expiryKey(expires, item), nil)
	}
	return nil
}

// ledgerExpire deletes the items whose time has passed, oldest first.
func (a *applier) ledgerExpire(body []byte) (Reply, error) {
	f := fields{rest: body}
	now := f.varint()
	max, n := binary.Uvarint(f.rest)
	if f.err != nil || n <= 0 {
		return Reply{}, fmt.Errorf("%w: ledger expiry", ErrCommand)
	}
	var due [][]byte
	err := a.batch.Scan(tableExpiry, nil, func(key, _ []byte) error {
		if len(key) < 8 || !expired(int64(binary.BigEndian.Uint64(key)), now) || uint64(len(due)) >= max {
			return errStop
		}
		due = append(due, bytes.Clone(key))
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return Reply{}, err
	}
	for _, key := range due {
		a.batch.Delete(tableExpiry, key)
		a.batch.Delete(tableLedger, key[8:])
		a.touch(bucketOf(key[8:]))
	}
	return Reply{Revision: a.revision()}, nil
}

// errStop ends a scan that has seen enough; it never leaves this file.
var errStop = errors.New("state: stop")

// LedgerGet returns the value of an item as this member has it, nil when there
// is none or it has expired at now.
func (m *Machine) LedgerGet(now time.Time, bucket string, key []byte) ([]byte, error) {
	raw, err := m.store.Get(tableLedger, ledgerKey(bucket, key))
	if err != nil || raw == nil {
		return nil, err
	}
	expires, value, err := decodeItem(raw)
	if err != nil || expired(expires, now.Unix()) {
		return nil, err
	}
	return bytes.Clone(value), nil
}

// LedgerList returns the items of a bucket whose keys have the prefix, in
// order, without those that have expired at now.
func (m *Machine) LedgerList(now time.Time, bucket string, prefix []byte) ([]Item, error) {
	var items []Item
	whole := ledgerKey(bucket, prefix)
	err := m.store.Scan(tableLedger, whole, func(key, raw []byte) error {
		expires, value, err := decodeItem(raw)
		if err != nil || expired(expires, now.Unix()) {
			return err
		}
		items = append(items, Item{Key: bytes.Clone(key[len(bucket)+1:]), Value: bytes.Clone(value)})
		return nil
	})
	return items, err
}
