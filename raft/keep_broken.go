// SPDX-License-Identifier: Apache-2.0

//go:build broken_acks

package raft

import (
	"cmp"
	"sync"

	hraft "github.com/hashicorp/raft"
)

func keeping(s logStore) logStore { return &lateLog{logStore: s} }

// lateLog writes entries only when the next ones come: who is killed loses
// the last that it has acknowledged.
type lateLog struct {
	logStore

	mu   sync.Mutex
	last []*hraft.Log
}

func (f *lateLog) StoreLog(l *hraft.Log) error { return f.StoreLogs([]*hraft.Log{l}) }

func (f *lateLog) StoreLogs(logs []*hraft.Log) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writeLocked(); err != nil {
		return err
	}
	f.last = logs
	return nil
}

func (f *lateLog) writeLocked() error {
	if len(f.last) == 0 {
		return nil
	}
	logs := f.last
	f.last = nil
	return f.logStore.StoreLogs(logs)
}

func (f *lateLog) GetLog(index uint64, l *hraft.Log) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, have := range f.last {
		if have.Index == index {
			*l = *have
			return nil
		}
	}
	return f.logStore.GetLog(index, l)
}

func (f *lateLog) FirstIndex() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first, err := f.logStore.FirstIndex()
	if len(f.last) > 0 {
		first = cmp.Or(first, f.last[0].Index)
	}
	return first, err
}

func (f *lateLog) LastIndex() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.last); n > 0 {
		return f.last[n-1].Index, nil
	}
	return f.logStore.LastIndex()
}

func (f *lateLog) DeleteRange(first, last uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writeLocked(); err != nil {
		return err
	}
	return f.logStore.DeleteRange(first, last)
}

func (f *lateLog) Close() error {
	f.mu.Lock()
	err := f.writeLocked()
	f.mu.Unlock()
	return cmp.Or(err, f.logStore.Close())
}
