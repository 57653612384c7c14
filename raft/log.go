// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"
)

// disk is the log store that hraft sees: raft-wal or raft-boltdb, and around
// it what they leave open.
//
// A failed write is fatal. hraft would answer its callers with the error, step
// down, and perhaps lead again, although the entry may be on the disk.
//
// Every entry carries a checksum in its Extensions, which hraft has no use
// for: neither store checks an entry's bytes when it reads them. The checksum
// never leaves this type, so other members do not see it.
//
//	version 1 | crc32c of index, term, type and data, little endian
type disk struct {
	store hraft.LogStore
	files logFiles
	watch *metrics
	fail  func(error)

	broken  atomic.Pointer[error] // the first failed write; later ones are refused
	pace    pace
	tail    tail
	ahead   func() bool  // commands may wait in the tail; nil: never
	writing atomic.Int64 // when the running write began, Unix nanoseconds; 0: none runs
	grew    func()       // told of every append, by who writes it
	begin   func() error // notes that there is a log
	begun   bool         // it has; used by who writes alone, and nobody does beside another

	mu      sync.Mutex // protects what follows, which the appender and the labeler use
	sizes   sizes
	labeled int64 // sizes.total when the newest label was asked for
}

const (
	sealVersion = 1
	sealLen     = 1 + 4
	// entryOverhead is about what both stores add to an entry's data.
	entryOverhead = 48
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func seal(l *hraft.Log) []byte {
	return binary.LittleEndian.AppendUint32([]byte{sealVersion}, checksum(l))
}

func checksum(l *hraft.Log) uint32 {
	var head [17]byte
	binary.LittleEndian.PutUint64(head[0:], l.Index)
	binary.LittleEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return crc32.Update(crc32.Checksum(head[:], crcTable), crcTable, l.Data)
}

func (d *disk) StoreLog(l *hraft.Log) error { return d.StoreLogs([]*hraft.Log{l}) }

// StoreLogs writes and fsyncs entries, or leaves a leader's to the tail.
func (d *disk) StoreLogs(logs []*hraft.Log) error {
	if err := d.broken.Load(); err != nil {
		return *err
	}
	sealed := make([]hraft.Log, len(logs))
	pointers := make([]*hraft.Log, len(logs))
	for i, l := range logs {
		sealed[i] = *l
		sealed[i].Extensions = seal(l)
		pointers[i] = &sealed[i]
	}
	if onlyCommands(logs) && d.ahead != nil && d.ahead() {
		d.tail.add(pointers, false)
		return nil
	}
	err := d.settle()
	if err == nil {
		err = d.write(pointers)
	}
	if err == nil {
		d.tail.add(pointers, true)
	}
	return err
}

// write is for sealed entries. While the tail has some, only writeTail may
// call it.
func (d *disk) write(logs []*hraft.Log) error {
	var bytes int64
	for _, l := range logs {
		bytes += int64(len(l.Data)) + entryOverhead
	}
	start := time.Now()
	d.writing.Store(start.UnixNano())
	err := d.store.StoreLogs(logs)
	d.writing.Store(0)
	if err != nil {
		return d.breakDown(fmt.Errorf("write entries %d to %d to the raft log %s: %w",
			logs[0].Index, logs[len(logs)-1].Index, d.files.path, err))
	}
	if !d.begun {
		if err := d.begin(); err != nil { // fatal already
			return err
		}
		d.begun = true
	}
	took := time.Since(start)
	d.pace.note(took)
	d.watch.wrote(took, bytes)
	d.mu.Lock()
	for _, l := range logs {
		d.sizes.add(l.Index, int64(len(l.Data))+entryOverhead)
	}
	d.mu.Unlock()
	d.grew()
	return nil
}

// DeleteRange removes entries from the log's head, behind a label, or from its
// tail, when another leader's entries replace them.
func (d *disk) DeleteRange(first, last uint64) error {
	if err := d.broken.Load(); err != nil {
		return *err
	}
	if last+1 >= d.unsettled() { // what is written never ends before what is cut off
		if err := d.settle(); err != nil {
			return err
		}
	}
	if err := d.store.DeleteRange(first, last); err != nil {
		return d.breakDown(fmt.Errorf("delete entries %d to %d from the raft log %s: %w", first, last, d.files.path, err))
	}
	d.tail.remove(first, last)
	d.mu.Lock()
	d.sizes.remove(first, last)
	d.mu.Unlock()
	return nil
}

func (d *disk) breakDown(err error) error {
	d.broken.CompareAndSwap(nil, &err)
	d.fail(err)
	return err
}

// GetLog reads an entry and checks it. Damage is fatal: what the log held
// there was agreed upon.
func (d *disk) GetLog(index uint64, l *hraft.Log) error {
	if index >= d.unsettled() && !d.ahead() { // who asks may be about to tell another leader that it is here
		if err := d.settle(); err != nil {
			return err
		}
	}
	if d.tail.find(index, l) {
		return nil
	}
	if err := d.store.GetLog(index, l); err != nil {
		if first, e := d.store.FirstIndex(); errors.Is(err, hraft.ErrLogNotFound) && e == nil && index < first {
			return hraft.ErrLogNotFound // as it is: by this hraft knows that a member needs more than the log
		}
		return fmt.Errorf("read entry %d of the raft log %s: %w", index, d.files.holding(index), err)
	}
	want := l.Extensions
	l.Extensions = nil
	if err := d.check(index, l, want); err != nil {
		d.fail(err)
		return err
	}
	return nil
}

func (d *disk) check(index uint64, l *hraft.Log, sealed []byte) error {
	switch {
	case len(sealed) > 0 && sealed[0] > sealVersion:
		return fmt.Errorf("raft log %s: entry %d has format %d, this version reads %d",
			d.files.holding(index), index, sealed[0], sealVersion)
	case len(sealed) != sealLen, l.Index != index, binary.LittleEndian.Uint32(sealed[1:]) != checksum(l):
		return fmt.Errorf("raft log %s is damaged: entry %d does not match its checksum", d.files.holding(index), index)
	}
	return nil
}

func (d *disk) FirstIndex() (uint64, error) { return d.store.FirstIndex() }

func (d *disk) LastIndex() (uint64, error) {
	if last := d.tail.last(); last != 0 {
		return last, nil
	}
	return d.store.LastIndex()
}

// IsMonotonic tells hraft that the log has no gaps, so that it is cleared
// behind a state that was installed. raft-boltdb would take them.
func (d *disk) IsMonotonic() bool { return true }

// trailing is the number of newest entries that together take at most keep
// bytes; at least one, so that an empty log is always a lost one.
func (d *disk) trailing(keep int64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(1, d.sizes.newest(keep))
}

// sinceLabel is how much has been appended since mark.
func (d *disk) sinceLabel() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sizes.total - d.labeled
}

// mark notes that a label is made for what has been appended so far.
func (d *disk) mark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.labeled = d.sizes.total
}

// writeAge is how long the running write has taken; zero if none runs.
func (d *disk) writeAge() time.Duration {
	began := d.writing.Load()
	if began == 0 {
		return 0
	}
	return time.Since(time.Unix(0, began))
}

// votes is the stable store that hraft sees: the term, the vote. A failed
// write is fatal; hraft itself panics when it cannot save its term.
type votes struct {
	hraft.StableStore
	path string
	fail func(error)
}

func (v *votes) Set(key, value []byte) error {
	return v.check(v.StableStore.Set(key, value))
}

func (v *votes) SetUint64(key []byte, value uint64) error {
	return v.check(v.StableStore.SetUint64(key, value))
}

func (v *votes) check(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("write %s: %w", v.path, err)
	v.fail(err)
	return err
}
