// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cleatd/cleat/kv"
)

// stretch is what one cursor gave while it was open.
type stretch struct {
	keys        kv.Range
	start, last int64
	texts       []string
}

// reader opens cursors one after another while the model writes: each goes on
// where the one before stood, or at the compaction that ended it, or from now.
type reader struct {
	house     *house
	random    *rand.Rand
	stretches []stretch
	refused   int
}

func (r *reader) run(ctx context.Context, keys func(*rand.Rand) kv.Range) error {
	for from := int64(1); ctx.Err() == nil; {
		s := stretch{keys: keys(r.random)}
		c := r.house.hub.Watch(s.keys, from)
		s.start, s.last = c.start, c.start-1
		err := r.take(ctx, c, &s)
		c.Close()
		r.stretches = append(r.stretches, s)
		var compacted *CompactedError
		switch {
		case errors.As(err, &compacted):
			r.refused++
			from = compacted.Revision
		case err != nil && !errors.Is(err, context.Canceled):
			return err
		default:
			from = []int64{0, s.last + 1}[r.random.IntN(2)]
		}
	}
	return nil
}

// take reads some batches, with a pause now and then until much has happened.
func (r *reader) take(ctx context.Context, c *Cursor, s *stretch) error {
	for range r.random.IntN(50) {
		if r.random.IntN(20) == 0 {
			if err := r.house.store.Wait(ctx, s.last+r.random.Int64N(200)); err != nil {
				return err
			}
		}
		b, err := c.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range b.Events {
			s.texts = append(s.texts, show(e))
		}
		s.last = b.Revision
	}
	return nil
}

// compare checks a stretch against everything that happened.
func (m *model) compare(s stretch) {
	m.t.Helper()
	var want []string
	for _, e := range m.events {
		if e.rev >= s.start && e.rev <= s.last && within(s.keys, e.key) {
			want = append(want, e.text)
		}
	}
	if !slices.Equal(s.texts, want) {
		m.t.Errorf("%+v from %d to %d gave %d events, want %d", s.keys, s.start, s.last, len(s.texts), len(want))
	}
}

// TestCursorsGiveWhatHappensMeanwhile has readers and a writer run at once.
func TestCursorsGiveWhatHappensMeanwhile(t *testing.T) {
	m := newModel(t, 11)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	readers := make([]*reader, 8)
	failed := make(chan error, len(readers))
	var running sync.WaitGroup
	for i := range readers {
		r := &reader{house: m.house, random: rand.New(rand.NewPCG(uint64(i), 4))}
		readers[i] = r
		running.Go(func() {
			failed <- r.run(ctx, func(random *rand.Rand) kv.Range { return (&model{random: random}).keys() })
		})
	}
	for i := range 4000 {
		if m.change(); i%500 == 499 {
			m.forget()
		}
		if i%10 == 0 {
			m.settle() // the readers keep up, more or less
		}
	}
	cancel()
	running.Wait()
	given, refused := 0, 0
	for _, r := range readers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
		for _, s := range r.stretches {
			m.compare(s)
			given += len(s.texts)
		}
		refused += r.refused
	}
	if given < 1000 {
		t.Errorf("only %d events were given", given)
	}
	t.Logf("%d events were given, %d cursors refused", given, refused)
	m.wantFree()
}
