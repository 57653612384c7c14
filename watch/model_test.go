// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cleatd/cleat/kv"
)

// past is one event as the model remembers it.
type past struct {
	rev      int64
	key      string
	text     string
	previous string // the value that was there before; "" if there was none
}

// model writes at random and remembers everything that happened.
type model struct {
	*house
	random    *rand.Rand
	live      map[string]string
	events    []past
	rev       int64
	compacted int64
	value     int
}

// tight limits make cursors fall and read the history all the time.
func tight(h *Hub) {
	h.limits = limits{events: 12, bytes: 3000, total: 8000, batch: 500, scan: 9, nearby: 4}
}

func newModel(t *testing.T, seed uint64) *model {
	h := openStore(t, kv.Options{Dir: "store", FS: vfs.NewMem(), TailBytes: 3000}, tight)
	return &model{house: h, random: rand.New(rand.NewPCG(seed, 2)), live: make(map[string]string), rev: 1, compacted: -1}
}

// names are such that one is a prefix of another.
func (m *model) name() string { return []string{"a", "a/b", "a/c", "b", "b/", "c"}[m.random.IntN(6)] }

// change writes one transaction of several keys.
func (m *model) change() {
	b := m.store.NewBatch()
	defer b.Close()
	txn := b.Begin()
	touched := make(map[string]bool)
	for range 1 + m.random.IntN(5) {
		k := m.name()
		old := m.live[k]
		switch {
		case touched[k]:
			continue
		case m.random.IntN(4) > 0:
			m.value++
			v := fmt.Sprintf("%d%0*d", m.value, m.random.IntN(200), 0)
			txn.Put([]byte(k), []byte(v), 0)
			m.live[k] = v
			m.events = append(m.events, past{m.rev + 1, k, fmt.Sprintf("%d %s=%s", m.rev+1, k, v), old})
		case old != "":
			txn.Delete(key(k), false)
			delete(m.live, k)
			m.events = append(m.events, past{m.rev + 1, k, fmt.Sprintf("%d -%s", m.rev+1, k), old})
		}
		touched[k] = true
	}
	m.rev = txn.End()
	m.commit(b)
}

// forget compacts, mostly recent history, and waits for the removal at times.
func (m *model) forget() {
	rev := m.rev - m.random.Int64N(30)
	if rev <= m.compacted || rev < 1 {
		return
	}
	b := m.store.NewBatch()
	defer b.Close()
	done, err := b.Compact(rev)
	if err != nil {
		m.t.Fatal(err)
	}
	m.commit(b)
	m.compacted = rev
	if m.random.IntN(2) == 0 {
		<-done
	}
}

// view is a cursor and what it must give.
type view struct {
	cursor *Cursor
	keys   kv.Range
	start  int64
	given  int64 // everything up to it was given
	at     int   // in model.events: what is before was given or is not wanted
}

func (m *model) keys() kv.Range {
	switch m.random.IntN(5) {
	case 0:
		return everything
	case 1:
		return kv.Range{Key: []byte(m.name()), End: []byte{0}}
	case 2:
		return prefix(m.name())
	}
	return key(m.name())
}

func (m *model) start() int64 {
	switch m.random.IntN(4) {
	case 0:
		return 0
	case 1:
		return m.rev + 1 + m.random.Int64N(20)
	}
	return 1 + m.random.Int64N(m.rev+1)
}

func (m *model) watch(g *Group, keys kv.Range, from int64) *view {
	v := &view{keys: keys, start: from}
	if from == 0 {
		v.start = m.rev + 1
	}
	v.given = v.start - 1
	v.cursor = g.Watch(keys, from)
	return v
}

// wanted moves at to the next event that the view wants, and returns it.
func (v *view) wanted(events []past) *past {
	for ; v.at < len(events); v.at++ {
		if e := &events[v.at]; e.rev >= v.start && within(v.keys, e.key) {
			return e
		}
	}
	return nil
}

func within(r kv.Range, k string) bool {
	switch {
	case len(r.End) == 0:
		return k == string(r.Key)
	case string(r.End) == "\x00":
		return k >= string(r.Key)
	}
	return k >= string(r.Key) && k < string(r.End)
}

// reached notes that everything up to a revision was given.
func (m *model) reached(v *view, rev int64) {
	m.t.Helper()
	v.given = max(v.given, rev)
	if e := v.wanted(m.events); e != nil && e.rev <= rev {
		m.t.Fatalf("%+v was told that it has everything up to %d; it has not got %s", v, rev, e.text)
	}
}

// accept compares a delivery with what happened.
func (m *model) accept(v *view, d Delivery) {
	m.t.Helper()
	for _, e := range d.Events {
		want := v.wanted(m.events)
		if want == nil || show(e) != want.text {
			m.t.Fatalf("%+v was given %s; want %+v", v, show(e), want)
		}
		v.at++
		m.comparePrevious(e, want)
	}
	if last := d.Events[len(d.Events)-1].Revision; last > d.Revision {
		m.t.Fatalf("an event of revision %d in a batch up to %d", last, d.Revision)
	}
	m.reached(v, d.Revision) // which also finds a revision that was torn
}

func (m *model) comparePrevious(e *Event, want *past) {
	m.t.Helper()
	if m.random.IntN(3) > 0 {
		return
	}
	p, err := e.Previous()
	if err != nil {
		m.t.Fatal(err)
	}
	if got := string(p.Value()); got != want.previous && (p != nil || e.Revision-1 >= m.compacted) {
		m.t.Fatalf("before %s there was %q; want %q (compacted %d)", want.text, got, want.previous, m.compacted)
	}
}

// refused checks that a cursor was ended for a reason.
func (m *model) refused(v *view, err error) {
	m.t.Helper()
	var compacted *CompactedError
	if !errors.As(err, &compacted) || !errors.Is(err, kv.ErrCompacted) || compacted.Revision != m.compacted {
		m.t.Fatalf("%+v ended with %v; compacted %d", v, err, m.compacted)
	}
	if v.given+1 >= m.compacted {
		m.t.Fatalf("%+v ended by a compaction of %d, which took nothing from it", v, m.compacted)
	}
}

// audience is a group of views, as a client has.
type audience struct {
	group *Group
	views map[*Cursor]*view
	asked int64 // progress was asked for at this revision; zero: not
	tally *tally
}

type tally struct{ batches, refusals, fallen, answers int }

// serve takes at most n deliveries.
func (a *audience) serve(m *model, n int) (idle bool) {
	m.t.Helper()
	for range n {
		d, ok := a.group.Take()
		v := a.views[d.Cursor]
		switch {
		case !ok:
			select {
			case <-a.group.Ready():
				return false
			default:
				return true
			}
		case d.Cursor == nil:
			a.answered(m, d.Revision)
		case v == nil:
			m.t.Fatalf("a delivery for a cursor that was closed: %v", d)
		case d.Err != nil:
			m.refused(v, d.Err)
			delete(a.views, d.Cursor)
			a.tally.refusals++
		default:
			m.accept(v, d)
			a.tally.batches++
		}
	}
	return false
}

func (a *audience) answered(m *model, rev int64) {
	m.t.Helper()
	if a.asked == 0 || rev < a.asked {
		m.t.Fatalf("progress %d; asked at %d", rev, a.asked)
	}
	for _, v := range a.views {
		m.reached(v, rev)
	}
	a.asked = 0
	a.tally.answers++
}

// act does one random thing with the cursors.
func (a *audience) act(m *model) {
	m.t.Helper()
	var v *view // any
	for _, v = range a.views {
		break
	}
	switch m.random.IntN(8) {
	case 0:
		if len(a.views) < 12 {
			v = m.watch(a.group, m.keys(), m.start())
			a.views[v.cursor] = v
		}
	case 1:
		if v != nil {
			a.reopen(m, v)
		}
	case 2:
		if v != nil {
			rev, _ := v.cursor.Progress()
			m.reached(v, rev)
		}
	case 3:
		if a.asked == 0 {
			a.asked = m.rev
			a.group.RequestProgress()
		}
	default:
		a.serve(m, m.random.IntN(40))
	}
}

// reopen closes a cursor and often goes on from where it stood.
func (a *audience) reopen(m *model, v *view) {
	v.cursor.Close()
	delete(a.views, v.cursor)
	if m.random.IntN(3) > 0 {
		next := m.watch(a.group, v.keys, v.given+1)
		a.views[next.cursor] = next
	}
}

func (a *audience) countFallen(h *Hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range a.views {
		if c.spot == nil {
			a.tally.fallen++
		}
	}
}

// TestCursorsGiveWhatHappened drives cursors at random, some of them paused for
// long, and compares each delivery with what the model remembers.
func TestCursorsGiveWhatHappened(t *testing.T) {
	var sum tally
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, seed, &sum) })
	}
	if sum.batches == 0 || sum.refusals == 0 || sum.fallen == 0 || sum.answers == 0 {
		t.Errorf("something was never tried: %+v", sum)
	}
	t.Logf("%+v", sum)
}

func history(t *testing.T, seed uint64, sum *tally) {
	m := newModel(t, seed)
	audiences := make([]*audience, 4)
	for i := range audiences {
		audiences[i] = &audience{group: m.hub.Group(), views: make(map[*Cursor]*view), tally: sum}
	}
	for range 1500 {
		switch n := m.random.IntN(20); {
		case n < 10:
			m.change()
		case n == 10 && m.random.IntN(8) == 0:
			m.forget()
		default:
			// The last is served rarely, and the first often.
			audiences[min(m.random.IntN(5)*m.random.IntN(5)/4, 3)].act(m)
		}
	}
	for _, a := range audiences {
		a.countFallen(m.hub)
	}
	m.settle()
	for _, a := range audiences {
		for !a.serve(m, 1) {
		}
		for _, v := range slices.Collect(maps.Values(a.views)) {
			if e := v.wanted(m.events); e != nil {
				t.Errorf("%+v was never given %s", v, e.text)
			}
		}
		a.group.Close()
	}
	m.wantFree()
}

// wantFree asserts that the hub holds nothing when nobody watches.
func (h *house) wantFree() {
	h.t.Helper()
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	if hub := h.hub; hub.held != 0 || hub.holding.first != nil || hub.holding.last != nil || len(hub.groups) != 0 ||
		len(hub.asking) != 0 || len(hub.index.keys) != 0 || hub.index.ranges != nil {
		h.t.Errorf("left behind: %d bytes, groups %v, index %+v", hub.held, hub.groups, hub.index)
	}
}
