// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cleatd/cleat/kv"
)

// recorded is a history whose revision is the seconds since its start, and what
// it gave up.
type recorded struct {
	*history
	start   time.Time
	follows atomic.Bool
	refusal error
	done    []string // "revision at time"
}

func record(h *history) *recorded {
	r := &recorded{history: h, start: time.Now()}
	h.log = slog.New(slog.DiscardHandler)
	h.revision = func() int64 { return 1 + int64(time.Since(r.start)/time.Second) }
	h.leading = func() bool { return !r.follows.Load() }
	h.compact = func(_ context.Context, revision int64) error {
		r.done = append(r.done, fmt.Sprintf("%d at %v", revision, time.Since(r.start)))
		return r.refusal
	}
	return r
}

// during runs the history for so long, and says what it gave up meanwhile.
func (r *recorded) during(t *testing.T, spans ...time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for i, span := range spans {
		if i > 0 {
			r.follows.Store(!r.follows.Load())
		}
		time.Sleep(span) // of a bubble: no time passes outside
		synctest.Wait()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The rules are etcd's: see its v3compactor.
func TestHistoryIsGivenUpByTime(t *testing.T) {
	for name, c := range map[string]struct {
		span, during time.Duration
		want         []string
	}{
		"a short span": {10 * time.Minute, 31 * time.Minute, []string{"1 at 10m0s", "541 at 20m0s", "1141 at 30m0s"}},
		"an hour":      {time.Hour, 2*time.Hour + time.Minute, []string{"1 at 1h0m0s", "3241 at 2h0m0s"}},
		"a day": {24 * time.Hour, 26*time.Hour + time.Minute, []string{
			"1 at 24h0m0s", "3241 at 25h0m0s", "6841 at 26h0m0s"}},
		"not yet":   {24 * time.Hour, 23 * time.Hour, nil},
		"all of it": {0, 1000 * time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(&history{span: c.span})
				r.during(t, c.during)
				if !slices.Equal(r.done, c.want) {
					t.Errorf("gave up %q, want %q", r.done, c.want)
				}
			})
		})
	}
}

func TestHistoryIsGivenUpByNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(&history{keep: 500})
		r.during(t, 16*time.Minute)
		if want := []string{"101 at 10m0s", "401 at 15m0s"}; !slices.Equal(r.done, want) {
			t.Errorf("gave up %q, want %q", r.done, want)
		}
	})
}

// Whoever becomes the leader knows what is old, since it has looked all along.
func TestOnlyTheLeaderGivesUpHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(&history{span: time.Hour})
		r.follows.Store(true)
		r.during(t, 90*time.Minute+time.Second, 7*time.Minute, 2*time.Hour)
		if want := []string{"1801 at 1h36m0s"}; !slices.Equal(r.done, want) {
			t.Errorf("gave up %q, want %q", r.done, want)
		}
	})
}

func TestWhatWasNotGivenUpIsTriedAgain(t *testing.T) {
	for refusal, want := range map[error]int{errors.New("no quorum"): 6, kv.ErrCompacted: 1} {
		synctest.Test(t, func(t *testing.T) {
			r := record(&history{span: time.Hour})
			r.refusal = refusal
			r.during(t, 91*time.Minute)
			if len(r.done) != want {
				t.Errorf("%v: gave up %q", refusal, r.done)
			}
		})
	}
}

// A compaction may take longer than what lies between two looks; what the next
// ones give up is a span old all the same.
func TestASlowCompactionMakesNothingOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(&history{span: 10 * time.Second})
		r.revision = func() int64 { return 1 + int64(time.Since(r.start)/time.Millisecond) }
		r.compact = func(_ context.Context, revision int64) error {
			age := time.Since(r.start) - time.Duration(revision-1)*time.Millisecond
			if r.done = append(r.done, age.String()); age < r.span {
				t.Errorf("gave up what was %v old", age)
			}
			if len(r.done) == 1 {
				time.Sleep(4500 * time.Millisecond) // of a bubble: no time passes outside
			}
			return errors.New("no quorum")
		}
		r.during(t, time.Minute)
		if len(r.done) < 30 {
			t.Errorf("gave up %q", r.done)
		}
	})
}

func TestRetentionIsReadAsEtcdReadsIt(t *testing.T) {
	for _, c := range []struct {
		mode, kept string
		span       time.Duration
		keep       int64
		good       bool
	}{
		{"periodic", "0", 0, 0, true},
		{"periodic", "1", time.Hour, 0, true},
		{"periodic", "5m", 5 * time.Minute, 0, true},
		{"periodic", "72h", 72 * time.Hour, 0, true},
		{"revision", "0", 0, 0, true},
		{"revision", "1000", 0, 1000, true},
		{"revision", "24h", 0, 0, false},
		{"revision", "-1", 0, 0, false},
		{"periodic", "-1h", 0, 0, false},
		{"periodic", "-1", 0, 0, false},
		{"periodic", "1ms", 0, 0, false},
		{"periodic", "9999999", 0, 0, false},
		{"periodic", "", 24 * time.Hour, 0, true},
		{"revision", "", 0, 1_000_000, true},
		{"", "1h", 0, 0, false},
	} {
		span, keep, err := retention(c.mode, c.kept)
		if span != c.span || keep != c.keep || (err == nil) != c.good {
			t.Errorf("%q %q: %v %d %v", c.mode, c.kept, span, keep, err)
		}
	}
}
