// SPDX-License-Identifier: Apache-2.0

// Package watch tells watchers what happens to the keys that they watch.
//
// One [Hub] follows the history of a store for all. A [Cursor] is one
// watcher's place in that history, and it pulls: nobody waits for it. Its range
// decides what it gets; an event costs the hub only the cursors that want it.
//
// What holds: a cursor is given every event of its range from its start on,
// once, in order, all of one revision in one [Batch]; or it is told that a
// compaction took them.
//
//	           dispatch                 Take
//	history ──────────────► pending ────────────► watcher     attached
//	   │                       │ too much                        ▲
//	   │                       ▼                                 │ near the end
//	   └───────────────── dropped; read again ───► watcher     lagging
//
// An attached cursor holds the events that the hub gave it and that nobody
// took yet; cursors share them. It holds a bounded number. One that would hold
// more, or that has not been served for longest when all together hold too
// much, drops them and lags: it holds nothing, costs nothing, and reads the
// history in pieces when it is asked. When it has come near the present it is
// attached again, before it reads the last piece, so that what happens
// meanwhile is waiting when that piece is done: no gap and nothing twice.
//
// Whoever has many cursors puts them in a [Group] and serves them all from one
// goroutine.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cleatd/cleat/kv"
)

var (
	// ErrClosed: the cursor or its group was closed.
	ErrClosed = errors.New("watch: closed")
	// ErrStopped: the hub does not follow the history any more.
	ErrStopped = errors.New("watch: the hub has stopped")
)

// CompactedError says that events a cursor had yet to get are gone. It is
// [kv.ErrCompacted].
type CompactedError struct {
	Revision int64 // of the compaction: the first that can still be watched
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("watch: events before revision %d have been compacted", e.Revision)
}

func (e *CompactedError) Unwrap() error { return kv.ErrCompacted }

// Source is the history that a hub follows; *kv.Store is one.
type Source interface {
	Revision() int64
	Compacted() int64
	Wait(ctx context.Context, rev int64) error
	Events(r kv.Range, from, to int64, maxBytes int) (events []kv.Event, next int64, err error)
	Range(r kv.Range, o kv.ReadOptions) (kv.Result, error)
}

// Options are what a [Hub] may be given; both may be nil.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const (
	// MaxHeld bounds the bytes that one cursor holds: the events that the hub
	// gave it and that nobody took yet, with their bookkeeping. A cursor that
	// nobody reads from never costs more; once it would, it drops all it holds
	// and costs nothing.
	MaxHeld = 1 << 20
	// MaxHeldByAll bounds the bytes that all cursors of a hub hold together;
	// an event that several hold counts once.
	MaxHeldByAll = 64 << 20
	// BatchBytes bounds a [Batch], but for one revision that is larger. It is
	// small beside what a client can take, and large enough to make the cost
	// of sending it small.
	BatchBytes = 512 << 10
)

// limits are the bounds of one hub.
type limits struct {
	events int   // held by one cursor
	bytes  int   // held by one cursor
	total  int   // bytes held by all cursors
	batch  int   // bytes of a batch
	scan   int64 // revisions looked through in one read of the history
	nearby int64 // revisions from the present at which a cursor is attached
}

func defaultLimits() limits {
	return limits{events: 4096, bytes: MaxHeld, total: MaxHeldByAll, batch: BatchBytes, scan: 10_000, nearby: 100}
}
