// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tally is a machine that costs nothing, so that the rest can be measured.
type tally struct {
	applied atomic.Uint64
	result  [][]byte
}

func (m *tally) Apply(entries []Entry) [][]byte {
	n := 0
	for _, e := range entries {
		n += len(e.Commands)
	}
	for len(m.result) < n {
		m.result = append(m.result, nil)
	}
	m.applied.Store(entries[len(entries)-1].Index)
	return m.result[:n]
}

func (m *tally) AppliedIndex() uint64 { return m.applied.Load() }
func (m *tally) Persist(uint64) error { return nil }

func (m *tally) Checkpoint(uint64) (Checkpoint, error) { return nil, errDisk }
func (m *tally) Prepare(io.Reader) (Prepared, error)   { return nil, errDisk }

// BenchmarkPropose reports the processor time of one command beside its wall
// time: the disk's share of the latter says little on a shared machine.
func BenchmarkPropose(b *testing.B) {
	for _, kind := range bothLogs {
		for _, callers := range []int{1, 10, 1000} {
			b.Run(fmt.Sprintf("%s/callers=%d", kind, callers), func(b *testing.B) {
				n, err := Open(withLog(config(b.TempDir()), kind), &tally{})
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					if err := n.Shutdown(context.Background()); err != nil {
						b.Error(err)
					}
				}()
				if err := n.Sync(context.Background()); err != nil {
					b.Fatal(err)
				}
				proposeAll(b, n, callers)
			})
		}
	}
}

func withLog(c Config, kind string) Config {
	c.Log = kind
	return c
}

func proposeAll(b *testing.B, n *Node, callers int) {
	command := make([]byte, 300)
	var next atomic.Int64
	var wait sync.WaitGroup
	before := processorTime(b)
	b.ResetTimer()
	for range callers {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for next.Add(1) <= int64(b.N) {
				if _, err := n.Propose(ctx, command); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSync(b *testing.B) {
	m := open(b, b.TempDir())
	m.sync(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Sync(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenToLeading is how long a member alone takes from Open until it
// serves.
func BenchmarkOpenToLeading(b *testing.B) {
	for b.Loop() {
		m := open(b, b.TempDir())
		m.sync(b)
	}
}
