// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/cleatd/cleat/pki"
)

var errLoginLedger = errors.New("ledger: no leader")

// loginLedger is a ledger in memory.
type loginLedger struct {
	mu     sync.Mutex
	values map[string][]byte // by bucket 00 key
	err    error             // of every call, while set
}

func (l *loginLedger) Get(_ context.Context, bucket string, key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.values[bucket+"\x00"+string(key)]), l.err
}

func (l *loginLedger) List(_ context.Context, bucket string, prefix []byte) ([]pki.Item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var items []pki.Item
	for at, value := range l.values {
		if key, found := strings.CutPrefix(at, bucket+"\x00"); found && strings.HasPrefix(key, string(prefix)) {
			items = append(items, pki.Item{Key: []byte(key), Value: bytes.Clone(value)})
		}
	}
	return items, l.err
}

func (l *loginLedger) Commit(_ context.Context, ops []pki.Op) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false, l.err
	}
	for _, op := range ops {
		value, present := l.values[op.Bucket+"\x00"+string(op.Key)]
		if op.If == pki.Absent && present || op.If == pki.Equals && (!present || !bytes.Equal(value, op.Old)) {
			return false, nil
		}
	}
	for _, op := range ops {
		at := op.Bucket + "\x00" + string(op.Key)
		if delete(l.values, at); op.Value != nil {
			l.values[at] = bytes.Clone(op.Value)
		}
	}
	return true, nil
}

// fail makes every call fail from now on; nil ends it.
func (l *loginLedger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}
