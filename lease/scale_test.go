// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const many = 100_000

// ledger counts what is asked of the disk.
type ledger struct{ sets, deletes, scans int }

func (l *ledger) Set(_, _ []byte) { l.sets++ }
func (l *ledger) Delete([]byte)   { l.deletes++ }
func (l *ledger) Scan([]byte, func(key, value []byte) error) error {
	l.scans++
	return nil
}

// estate is a keeper of many leases that counts what it proposes.
type estate struct {
	t      testing.TB
	disk   ledger
	table  *Table
	keeper *Keeper
	clocks *clocks

	mu      sync.Mutex // guards all below
	batches []int      // leases in each proposal to expire
	records []int      // leases in each proposal to checkpoint
	expired map[int64]time.Time
}

func newEstate(t testing.TB) *estate {
	e := &estate{t: t, expired: make(map[int64]time.Time)}
	var err error
	e.table, err = Load(&e.disk, nil)
	must(t, err)
	e.keeper = NewKeeper(e.table, KeeperOptions{Confirm: leads, Expire: e.expire, Checkpoint: e.checkpoint})
	return e
}

func (e *estate) expire(_ context.Context, refs []Ref) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.batches = append(e.batches, len(refs))
	for _, r := range refs {
		id := r.ID
		if _, twice := e.expired[id]; twice {
			e.t.Errorf("lease %d was expired twice", id)
		}
		e.expired[id] = time.Now()
		if _, err := e.table.Revoke(&e.disk, id); err != nil {
			return err
		}
	}
	return nil
}

func (e *estate) checkpoint(_ context.Context, remaining map[Ref]int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.records = append(e.records, len(remaining))
	for r, left := range remaining {
		if err := e.table.Checkpoint(&e.disk, r, left); err != nil {
			return err
		}
	}
	return nil
}

// grant makes leases whose IDs are 1 to n.
func (e *estate) grant(n int, ttl int64) {
	e.t.Helper()
	for id := range int64(n) {
		must(e.t, e.table.Grant(&e.disk, id+1, ttl, 1))
	}
}

// lead begins to measure without Run, so that a test can take its steps.
func (e *estate) lead() {
	e.t.Helper()
	var err error
	e.clocks, err = e.keeper.begin()
	must(e.t, err)
}

func (e *estate) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.keeper.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			e.t.Errorf("run ended with %v", err)
		}
	}
}

func (e *estate) renew(id int64) {
	e.t.Helper()
	_, err := e.keeper.Renew(context.Background(), id)
	must(e.t, err)
}

// proposed returns the sizes of the proposals since the last call, once those
// under way are done.
func (e *estate) proposed() (batches, records []int) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	batches, records, e.batches, e.records = e.batches, e.records, nil, nil
	return batches, records
}

// wantBatches checks that all leases were proposed, in full batches.
func wantBatches(t testing.TB, got []int, leases, batch int) {
	t.Helper()
	sum := 0
	for _, n := range got {
		sum += n
	}
	if most := (leases + batch - 1) / batch; sum != leases || len(got) > most || slices.Max(got) > batch {
		t.Errorf("%d leases in %d proposals of at most %d; want %d in %d of at most %d",
			sum, len(got), slices.Max(got), leases, most, batch)
	}
}

// Every other lease of many is kept alive over several of its lives, and then
// nobody is: all end at their time, and what the keeper proposes is counted.
func TestManyLeasesAreKeptAliveAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		stop := e.run()
		e.grant(many, 60)
		began := time.Now()
		for range 5 {
			time.Sleep(50 * time.Second)
			synctest.Wait()
			for id := range int64(many / 2) {
				e.renew(2 * (id + 1))
			}
		}
		batches, _ := e.proposed()
		wantBatches(t, batches, many/2, expireBatch)
		time.Sleep(time.Minute - tick)
		if early, _ := e.proposed(); len(early) > 0 {
			t.Errorf("%d proposals before the time", len(early))
		}
		time.Sleep(tick)
		batches, _ = e.proposed()
		wantBatches(t, batches, many/2, expireBatch)
		stop()
		for id, at := range e.expired {
			if want := time.Minute + time.Duration(1-id%2)*250*time.Second; at.Sub(began) != want {
				t.Fatalf("lease %d ended after %v, want %v", id, at.Sub(began), want)
			}
		}
		if want := (ledger{sets: many, deletes: many, scans: 1 + many}); e.disk != want || e.table.Len() != 0 {
			t.Errorf("the disk saw %+v, want %+v; %d leases left", e.disk, want, e.table.Len())
		}
	})
}

func TestManyCheckpointsComeInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		e.grant(many, 3600)
		defer e.run()()
		time.Sleep(checkpointInterval)
		_, records := e.proposed()
		wantBatches(t, records, many, checkpointBatch)
		time.Sleep(checkpointInterval - tick)
		if _, early := e.proposed(); len(early) > 0 {
			t.Errorf("%d proposals before the time", len(early))
		}
	})
}

// moved counts the leases whose place in the queue has changed.
func moved(before, after []*clock) (n int) {
	for i, c := range after {
		if i >= len(before) || before[i] != c {
			n++
		}
	}
	return n
}

// levels is how deep the queue of many leases is.
const levels = 17

func TestTickTouchesOnlyWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		e.lead()
		e.grant(many, 600)
		must(t, e.table.Grant(&e.disk, many+1, 10, 1))
		e.keeper.due(e.clocks)
		before := slices.Clone(e.clocks.queue)

		if _, _, idle := e.keeper.due(e.clocks); idle != 10*time.Second || moved(before, e.clocks.queue) != 0 {
			t.Errorf("nothing is due: idle for %v, %d moved", idle, moved(before, e.clocks.queue))
		}
		time.Sleep(10 * time.Second)
		expired, checkpoints, _ := e.keeper.due(e.clocks)
		if len(expired) != 1 || expired[0].lease.ID != many+1 || len(checkpoints) != 0 {
			t.Errorf("due: %d to expire, %d to checkpoint", len(expired), len(checkpoints))
		}
		if n := moved(before, e.clocks.queue); n > levels {
			t.Errorf("one lease was due, %d have moved", n)
		}
	})
}

func TestRenewalDoesNotTouchTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		e.lead()
		e.grant(many, 60)
		e.keeper.due(e.clocks)
		before := slices.Clone(e.clocks.queue)
		for range 3 {
			time.Sleep(10 * time.Second)
			for id := range int64(many) {
				e.renew(id + 1)
			}
		}
		if n := moved(before, e.clocks.queue); n != 0 {
			t.Errorf("renewals moved %d leases in the queue", n)
		}
		// The queue is put right once in the life of a lease, in short steps.
		time.Sleep(30 * time.Second)
		steps := 0
		for idle := time.Duration(0); idle == 0; steps++ {
			expired, _, left := e.keeper.due(e.clocks)
			if len(expired) > 0 {
				t.Fatalf("%d renewed leases were due", len(expired))
			}
			idle = left
		}
		if steps > many/checkpointBatch+1 {
			t.Errorf("%d steps for %d renewed leases", steps, many)
		}
	})
}

// costs are the allocations of one lease's life among n others.
type costs struct{ grant, renew, revoke float64 }

func costsAmong(t *testing.T, n int) costs {
	e := newEstate(t)
	e.lead()
	e.grant(n, 600)
	e.keeper.due(e.clocks)
	const runs = 200
	next := int64(n) + 1
	grant := testing.AllocsPerRun(runs, func() {
		must(t, e.table.Grant(&e.disk, next, 600, 1))
		e.keeper.due(e.clocks)
		next++
	})
	renew := testing.AllocsPerRun(runs, func() { e.renew(7) })
	first := int64(1)
	revoke := testing.AllocsPerRun(runs, func() {
		_, err := e.table.Revoke(&e.disk, first)
		must(t, err)
		e.keeper.due(e.clocks)
		first++
	})
	return costs{grant, renew, revoke}
}

func TestCostOfALeaseDoesNotGrowWithTheirNumber(t *testing.T) {
	few, lots := costsAmong(t, 1000), costsAmong(t, many)
	if few != lots {
		t.Errorf("allocations among a thousand %+v, among a hundred thousand %+v", few, lots)
	}
	if lots.renew != 0 {
		t.Errorf("a renewal allocates %v times", lots.renew)
	}
}
