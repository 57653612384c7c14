// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cleatd/cleat/kv"
)

// LedgerItem is an item of the ledger with all that belongs to it.
type LedgerItem struct {
	Bucket     string
	Key, Value []byte
	Expires    time.Time // zero: never
}

// Ledger calls fn for each item as it is kept, in the order of the keys;
// [DecodeLedgerItem] reads it. The slices are valid during the call only. fn's
// error ends it.
func (v View) Ledger(fn func(key, value []byte) error) error { return v.Scan(tableLedger, nil, fn) }

// DecodeLedgerItem reads what [View.Ledger] tells, from wherever it was kept
// meanwhile. The item shares its memory.
func DecodeLedgerItem(key, value []byte) (LedgerItem, error) {
	bucket, rest, found := bytes.Cut(key, []byte{0})
	if !found || len(bucket) == 0 {
		return LedgerItem{}, fmt.Errorf("state: ledger item %x without a bucket", key)
	}
	expires, value, err := decodeItem(value)
	if err == nil && expires < 0 {
		err = fmt.Errorf("state: ledger item %q expires before there was time", key)
	}
	if err != nil {
		return LedgerItem{}, err
	}
	item := LedgerItem{Bucket: string(bucket), Key: rest, Value: value}
	if expires != 0 {
		item.Expires = time.Unix(expires, 0)
	}
	return item, nil
}

// loadAtOnce is how many bytes of the ledger are loaded in one commit.
const loadAtOnce = 1 << 20

// LoadLedger gives a state that has no ledger the items that walk calls its
// argument for. Nothing was applied before, and the machine belongs to the
// caller alone.
func (m *Machine) LoadLedger(walk func(add func(LedgerItem) error) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if m.store.AppliedIndex() != 0 {
		return errors.New("state: a ledger is loaded into a state that has been used")
	}
	b, size := m.store.NewBatch(), 0
	defer func() { b.Close() }()
	err := walk(func(i LedgerItem) error {
		key, expires := ledgerKey(i.Bucket, i.Key), unixOrZero(i.Expires)
		b.Set(tableLedger, key, encodeItem(expires, i.Value))
		if expires != 0 {
			b.Set(tableExpiry, expiryKey(expires, key), nil)
		}
		if size += len(key) + len(i.Value); size < loadAtOnce {
			return nil
		}
		var full *kv.Batch
		full, b, size = b, m.store.NewBatch(), 0
		defer full.Close()
		return full.Commit(0)
	})
	if err != nil {
		return err
	}
	return b.Commit(0)
}
