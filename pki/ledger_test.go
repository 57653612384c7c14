// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var errLedger = errors.New("ledger: no leader")

// memoryLedger is a ledger in memory. Its n-th call can be made to fail, before
// or after it took effect.
type memoryLedger struct {
	mu     sync.Mutex
	values map[string][]byte    // by bucket 00 key
	ends   map[string]time.Time // expiry of those that have one
	calls  int
	board  map[string]chan struct{} // by bucket; closed when it changes

	err       error // of every call, while set
	failAt    int   // the call that fails with errLedger; 0: none
	failAfter bool  // it fails having done its work
}

func newLedger() *memoryLedger {
	return &memoryLedger{values: make(map[string][]byte), ends: make(map[string]time.Time), board: make(map[string]chan struct{})}
}

// beginLocked counts a call and returns what it must fail with: at once, or
// after it has done its work.
func (l *memoryLedger) beginLocked() (now, after error) {
	l.calls++
	if l.err != nil {
		return l.err, nil
	}
	if l.calls != l.failAt {
		return nil, nil
	}
	if l.failAfter {
		return nil, errLedger
	}
	return errLedger, nil
}

func (l *memoryLedger) Get(_ context.Context, bucket string, key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, after := l.beginLocked(); now != nil || after != nil {
		return nil, errors.Join(now, after)
	}
	return bytes.Clone(l.values[bucket+"\x00"+string(key)]), nil
}

func (l *memoryLedger) List(_ context.Context, bucket string, prefix []byte) ([]Item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, after := l.beginLocked(); now != nil || after != nil {
		return nil, errors.Join(now, after)
	}
	return l.itemsLocked(bucket, prefix), nil
}

func (l *memoryLedger) itemsLocked(bucket string, prefix []byte) []Item {
	var items []Item
	for _, at := range slices.Sorted(maps.Keys(l.values)) {
		if key, found := strings.CutPrefix(at, bucket+"\x00"); found && strings.HasPrefix(key, string(prefix)) {
			items = append(items, Item{Key: []byte(key), Value: bytes.Clone(l.values[at])})
		}
	}
	return items
}

func (l *memoryLedger) Commit(_ context.Context, ops []Op) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, after := l.beginLocked()
	if now != nil {
		return false, now
	}
	for _, op := range ops {
		value, present := l.values[op.Bucket+"\x00"+string(op.Key)]
		if op.If == Absent && present || op.If == Equals && (!present || !bytes.Equal(value, op.Old)) {
			return false, after
		}
	}
	for _, op := range ops {
		at := op.Bucket + "\x00" + string(op.Key)
		if changed := l.board[op.Bucket]; changed != nil {
			close(changed)
			delete(l.board, op.Bucket)
		}
		delete(l.values, at)
		delete(l.ends, at)
		if op.Value == nil {
			continue
		}
		l.values[at] = bytes.Clone(op.Value)
		if !op.Expires.IsZero() {
			l.ends[at] = op.Expires
		}
	}
	return after == nil, after
}

// nearLedger is a replica that can be read while the cluster cannot be reached.
type nearLedger struct{ replica }

func (l nearLedger) List(bucket string, prefix []byte) ([]Item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.itemsLocked(bucket, prefix), nil
}

// fail makes every call fail from now on; nil ends it.
func (l *memoryLedger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// count returns how many items a bucket has.
func (l *memoryLedger) count(t testing.TB, bucket string) int {
	t.Helper()
	items, err := l.List(t.Context(), bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(items)
}

// replica is the ledger as a member has it that hears of everything at once.
type replica struct{ *memoryLedger }

func (r replica) Get(bucket string, key []byte) ([]byte, error) {
	return r.memoryLedger.Get(context.Background(), bucket, key)
}

func (r replica) List(bucket string, prefix []byte) ([]Item, error) {
	return r.memoryLedger.List(context.Background(), bucket, prefix)
}

func (r replica) Changed(bucket string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.board[bucket] == nil {
		r.board[bucket] = make(chan struct{})
	}
	return r.board[bucket]
}
