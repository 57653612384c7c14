// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var errDisk = errors.New("input/output error")

// sickLog is a log that fails while sick is set.
func sickLog(sick *atomic.Bool) func(*Config) {
	fails := func() error {
		if sick.Load() {
			return errDisk
		}
		return nil
	}
	return func(c *Config) {
		c.faults.log = func(s logStore) logStore { return &faultyLog{logStore: s, before: fine, after: fails} }
	}
}

func TestAFailedWriteOfTheLogIsTheEnd(t *testing.T) {
	var sick atomic.Bool
	m := open(t, t.TempDir(), sickLog(&sick))
	m.write(t, "before")
	sick.Store(true)
	_, err := m.Propose(patience(t), []byte("lost"))
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, errDisk) {
		t.Fatalf("propose: %v, want ErrUnknown and its cause", err)
	}
	fatal := <-m.fatal
	if !errors.Is(fatal, errDisk) || !strings.Contains(fatal.Error(), filepath.Join(m.dir, "raft", walDir)) {
		t.Errorf("Fatal was told %v, want the cause and the file", fatal)
	}
	sick.Store(false) // a disk that recovers changes nothing
	if _, err := m.Propose(patience(t), []byte("after")); !errors.Is(err, ErrStopped) {
		t.Errorf("propose: %v, want ErrStopped", err)
	}
	if err := m.Sync(patience(t)); !errors.Is(err, ErrStopped) {
		t.Errorf("sync: %v, want ErrStopped", err)
	}
	if err := m.Confirm(patience(t)); !errors.Is(err, ErrStopped) {
		t.Errorf("confirm: %v, want ErrStopped", err)
	}
	m.stop(t)
	if len(m.fatal) != 0 {
		t.Errorf("Fatal was told twice: %v", <-m.fatal)
	}
}

// raft-wal opens its next segment in the background and keeps quiet about what
// goes wrong there.
func TestASegmentThatCannotBeMadeIsNamedWithItsCause(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	next := filepath.Join(m.dir, "raft", walDir, fmt.Sprintf("%020d-%016x.wal", m.Status().Last+3, 1))
	if err := os.WriteFile(next, nil, 0o600); err != nil { // in its way
		t.Fatal(err)
	}
	_, err := m.Propose(patience(t), make([]byte, maxCommandBytes-100))
	for err == nil {
		_, err = m.Propose(patience(t), make([]byte, maxCommandBytes-100))
	}
	fatal := <-m.fatal
	if !errors.Is(fatal, os.ErrExist) || !strings.Contains(fatal.Error(), next) {
		t.Errorf("Fatal was told %v, want the cause and %s", fatal, next)
	}
}

// hraft would be elected again after a failed write and carry on.
func TestNoWriteFollowsAFailedOne(t *testing.T) {
	broken := 0
	d := &disk{store: &faultyLog{before: func() error { broken++; return errDisk }}, fail: func(error) {}}
	for range 3 {
		if err := d.StoreLog(entry(1, "x")); !errors.Is(err, errDisk) {
			t.Fatalf("err %v", err)
		}
	}
	if broken != 1 {
		t.Errorf("%d writes were tried after the first had failed", broken-1)
	}
}

func TestAFailedWriteOfTheVoteIsTheEnd(t *testing.T) {
	var told error
	p := &power{}
	v := &votes{StableStore: &powerVotes{nil, p}, path: "/x/stable.db", fail: func(err error) { told = err }}
	err := v.SetUint64(keyTerm, 3)
	if !errors.Is(err, errPower) || !errors.Is(told, errPower) || !strings.Contains(told.Error(), "/x/stable.db") {
		t.Errorf("returned %v and told %v, want the cause and the file", err, told)
	}
}

func TestAMachineThatCannotApplyIsTheEnd(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	m.book.mu.Lock()
	m.book.broken = true
	m.book.mu.Unlock()
	if _, err := m.Propose(patience(t), []byte("x")); !errors.Is(err, ErrUnknown) {
		t.Fatalf("propose: %v, want ErrUnknown", err)
	}
	if err := <-m.fatal; !strings.Contains(err.Error(), "answered 0 of 1") {
		t.Errorf("Fatal was told %v", err)
	}
}

// What was committed before the failure but is applied after it is not
// acknowledged either: the caller may ask a member that is well.
func TestNothingIsAcknowledgedAfterTheEnd(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	entered, release := m.book.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := m.Propose(patience(t), []byte("x"))
		answered <- err
	}()
	<-entered
	m.fail(errDisk)
	if err := <-answered; !errors.Is(err, ErrUnknown) {
		t.Errorf("propose: %v, want ErrUnknown", err)
	}
	release()
}

func TestAFlushThatFailsMovesNoLabel(t *testing.T) {
	m := open(t, t.TempDir(), func(c *Config) { c.SnapshotBytes = 1 << 10 })
	m.sync(t)
	m.book.mu.Lock()
	m.book.persist = errDisk
	m.book.mu.Unlock()
	_, _ = m.Propose(patience(t), make([]byte, 2<<10)) // may be overtaken by the failure
	if err := <-m.fatal; !errors.Is(err, errDisk) {
		t.Fatalf("Fatal was told %v", err)
	}
	m.stop(t)
	if list, err := m.labels.List(); err != nil || len(list) != 0 {
		t.Errorf("labels %v, %v: want none", list, err)
	}
}

func TestALabelThatCannotBeWrittenIsTheEnd(t *testing.T) {
	m := open(t, t.TempDir(), func(c *Config) {
		c.SnapshotBytes = 1 << 10
		c.faults.put = func(string, []byte) error { return errDisk }
	})
	_, _ = m.Propose(patience(t), make([]byte, 2<<10)) // may be overtaken by the failure
	if err := <-m.fatal; !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "label") {
		t.Fatalf("Fatal was told %v", err)
	}
}

func TestACommandOfANewerFormatIsTheEnd(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	data := groupOf("x")
	data[0]++
	if err := m.raft.Apply(data, 0).Error(); err != nil {
		t.Fatal(err)
	}
	if err := <-m.fatal; !strings.Contains(err.Error(), "format 2, this version reads 1") {
		t.Errorf("Fatal was told %v", err)
	}
}

// A disk that hangs holds the first caller and hraft's main loop. Nobody waits
// longer than he wants to, and the age of the write can be seen.
func TestAHangingDiskHoldsNobody(t *testing.T) {
	var hang atomic.Pointer[chan struct{}]
	began := make(chan struct{}, 1)
	m := open(t, t.TempDir(), func(c *Config) {
		c.faults.log = func(s logStore) logStore {
			return &faultyLog{logStore: s, after: fine, before: func() error {
				if gate := hang.Load(); gate != nil {
					began <- struct{}{}
					<-*gate
				}
				return nil
			}}
		}
	})
	m.sync(t)
	gate := make(chan struct{})
	hang.Store(&gate)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := m.Propose(ctx, []byte("first"))
		first <- err
	}()
	<-began
	second := make(chan error, 1)
	go func() {
		_, err := m.Propose(ctx, []byte("second"))
		second <- err
	}()
	eventually(t, func() error {
		if m.line.pending() < 2 {
			return errors.New("the second is not in line")
		}
		return nil
	})
	if m.disk.writeAge() <= 0 {
		t.Error("the running write has no age")
	}
	cancel()
	if err := <-first; !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v, want ErrUnknown and the context's error", err)
	}
	if err := <-second; errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("second: %v, want only the context's error", err)
	}
	hang.Store(nil)
	close(gate)
	eventually(t, func() error {
		if age := m.disk.writeAge(); age != 0 {
			return fmt.Errorf("no write runs, but it has the age %s", age)
		}
		return nil
	})
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	registry := prometheus.NewRegistry()
	m := open(t, dir, func(c *Config) { c.Registerer = registry })
	m.write(t, "x")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		v := f.GetMetric()[0]
		got[f.GetName()] = v.GetGauge().GetValue() + v.GetCounter().GetValue() + float64(v.GetHistogram().GetSampleCount())
	}
	s := m.Status()
	for name, want := range map[string]float64{
		"etcd_server_has_leader":                1,
		"etcd_server_is_leader":                 1,
		"etcd_server_leader_changes_seen_total": 1,
		"etcd_server_proposals_committed_total": float64(s.Commit),
		"etcd_server_proposals_applied_total":   float64(s.Applied),
		"etcd_server_proposals_pending":         0,
		"etcd_server_proposals_failed_total":    0,
		"etcd_disk_wal_fsync_duration_seconds":  4, // configuration, hraft's first entry, ours, and x
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (there: %t), want %v", name, value, ok, want)
		}
	}
	if got["etcd_disk_wal_write_bytes_total"] == 0 {
		t.Error("no bytes were written")
	}
	m.stop(t)
	open(t, dir, func(c *Config) { c.Registerer = registry }) // the names are free again
}

func TestADirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, t.TempDir(), func(c *Config) { c.Dir = file + "/raft" }); err == nil {
		t.Error("opened below a file")
	}
}
