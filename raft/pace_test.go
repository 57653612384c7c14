// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func countOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// drag is a disk that takes its time.
type drag struct {
	mu    sync.Mutex
	until chan struct{} // if set, writes hang until it is closed
	each  time.Duration // what every write takes
}

func (d *drag) faults(c *Config) {
	c.faults.log = func(s logStore) logStore {
		return &faultyLog{logStore: s, before: d.wait, after: fine}
	}
}

func (d *drag) wait() error {
	d.mu.Lock()
	until, each := d.until, d.each
	d.mu.Unlock()
	if until != nil {
		<-until
	}
	if each > 0 {
		<-time.After(each)
	}
	return nil
}

func (d *drag) set(until chan struct{}, each time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until, d.each = until, each
}

// dragging is a cluster whose members' disks can be held up, by member.
func dragging(t *testing.T) (*cluster, map[uint64]*drag) {
	t.Helper()
	c, drags := newCluster(t), map[uint64]*drag{}
	for id := uint64(1); id <= 3; id++ {
		drags[id] = new(drag)
	}
	c.with = func(o *Config) { drags[o.Member].faults(o) }
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	return c, drags
}

func TestALeaderWhoseDiskHangsLeadsNoLonger(t *testing.T) {
	c, drags := dragging(t)
	old := c.leader()
	old.write(t, "before")
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	defer release()
	drags[old.config.Member].set(hang, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcome := make(chan error, 1)
	go func() {
		_, err := old.Propose(ctx, []byte("hangs"))
		outcome <- err
	}()
	for _, m := range c.others(old.config.Member) {
		eventually(t, func() error {
			if leader := m.Status().Leader; leader == 0 || leader == old.config.Member {
				return fmt.Errorf("its leader is %d", leader)
			}
			return nil
		})
		m.write(t, "meanwhile")
	}
	short, end := context.WithTimeout(t.Context(), 3*testElection)
	defer end()
	if err := old.Sync(short); err == nil {
		t.Error("a read at the member that hangs is taken for up to date")
	}
	if n := countOf(t, old.metrics.hung); n != 1 {
		t.Errorf("it fell silent %v times, want once", n)
	}
	drags[old.config.Member].set(nil, 0)
	release()
	if err := <-outcome; err != nil && !errors.Is(err, ErrUnknown) {
		t.Errorf("the command that hung: %v, want ErrUnknown or nothing", err)
	}
	c.agree(t, "before", "meanwhile")
	old.write(t, "after")
	c.agree(t, "after")
}

func TestALeaderWithASlowDiskHandsOver(t *testing.T) {
	c, drags := dragging(t)
	old := c.leader()
	drags[old.config.Member].set(nil, testElection/3)
	var enough atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !enough.Load() {
			_, _ = old.Propose(t.Context(), []byte("load")) // only the load counts
		}
	}()
	eventually(t, func() error {
		if leader := c.others(old.config.Member)[0].Status().Leader; leader == 0 || leader == old.config.Member {
			return errors.New("it leads still")
		}
		return nil
	})
	if n := countOf(t, old.metrics.evaded); n != 1 {
		t.Errorf("it handed over %v times, want once", n)
	}
	enough.Store(true)
	<-done
	c.agree(t)
}

// All disks are slow: nothing is gained by going about.
func TestLeadershipStaysWhereAllAreSlow(t *testing.T) {
	c, drags := dragging(t)
	for _, d := range drags {
		d.set(nil, testElection/4)
	}
	old := c.leader()
	eventually(t, func() error {
		old.write(t, "x")
		if !old.slow() {
			return errors.New("not known to be slow yet")
		}
		return nil
	})
	old.evade()
	if n := countOf(t, old.metrics.evaded); n != 0 {
		t.Errorf("it handed over %v times", n)
	}
}

func TestPaceForgetsWhatIsLongAgo(t *testing.T) {
	var p pace
	for i := range paceWrites {
		if got := p.recent(); got != 0 {
			t.Fatalf("%v after %d writes", got, i)
		}
		p.note(time.Second)
	}
	if got := p.recent(); got != time.Second {
		t.Errorf("mean %v, want 1s", got)
	}
	for range 10 * paceWrites {
		p.note(time.Millisecond)
	}
	if got := p.recent(); got > 2*time.Millisecond {
		t.Errorf("mean %v, want about 1ms", got)
	}
}
