// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// No client takes the memory or the processor from the others.
//
//	request ── the door's budget ── small? ── read ─────────────────── answer
//	              │ full: refused     │ no                               │ the small
//	              ▼                   ▼                                  ▼ ones' budget
//	        "too many requests"   its turn ── read, block by block ── answer
//	                                            │ takes of              │ gives back as
//	                                            ▼ the answers' budget ◄─┘ grpc sends
//
// A read is small until it has taken smallBytes or gone through smallSteps ×
// 256 keys, and nothing that is small waits for anything, as long as there is
// memory for it: from freeBytes on it takes of the small ones' budget, and is no
// longer small while others wait for a turn. A larger one needs a turn, of which there are few: those who have one share at most
// half of the processors, and take memory before they fill it. If no turn is
// free, what has been read is thrown away, so that whoever waits holds nothing,
// and read anew.
//
// A turn goes on while the answer is sent, for three times as long as it was read
// at most: a fast client's answer takes the processor until it has gone, a slow
// one's does not.
//
// Who has a turn and finds no memory waits for answers that are being sent, and
// only for these: all who read together cannot need more than there is. So nobody
// waits in a circle.
//
// Memory that is lent out comes back when grpc has handed the last byte to the
// connection, or when the connection ends. A client that takes no byte of its
// answers while others wait has patience's time; then its connection is closed.
const (
	freeBytes, freeSteps   = 512 << 10, 16
	smallBytes, smallSteps = 4 << 20, 128

	// largest is what an answer may take at least, if there is so much.
	largest = 512 << 20
	// streamBytes is what a RangeStream takes: a piece that goes out, one that
	// is next and one that is being read, each with a record too many. Where
	// values grow from one piece to the next it may be some more for a while.
	streamBytes = 8 << 20
	// requestBytes is what a request costs whatever it asks.
	requestBytes = 4 << 10
	// requestCopies is how often a request lies in memory: as it was decoded
	// and as a command.
	requestCopies = 2
	// largeWait is how long a large read waits.
	largeWait = time.Minute
)

var errLarge = errors.New("api: a read has become a large one")

// What large reads are refused with says what to do instead.
var (
	errTooLarge = status.Error(codes.ResourceExhausted,
		"cleat: the answer takes more memory than this member has for one: ask for less with a limit, page by page, or with RangeStream")
	errWaited = status.Error(codes.ResourceExhausted,
		"cleat: too many large reads are under way: try again later, or ask for less with a limit, page by page, or with RangeStream")
)

// fairness divides what a server has among those who ask.
type fairness struct {
	answers, small, streams budget
	network, socket         budget       // requests under way at the doors
	share                   atomic.Int64 // of answers, that one may take
	turns                   *turns
	cores                   int
	wait                    time.Duration
	shed                    *shedding

	mu       sync.Mutex
	accounts map[*account]bool // of the connections that are open
}

// newFairness divides memory bytes.
func newFairness(memory int64, cores int, m *metrics, log *slog.Logger) *fairness {
	f := &fairness{
		turns: newTurns(0), cores: cores,
		wait: largeWait, shed: newShedding(m, log), accounts: make(map[*account]bool),
	}
	f.divide(memory)
	return f
}

// divide divides memory bytes from now on: three fifths of them at most will ever
// be lent out, the rest is for the store and what else there is.
func (f *fairness) divide(memory int64) {
	f.answers.resize(memory / 4)
	f.small.resize(memory / 8)
	f.streams.resize(max(memory/16, 2*streamBytes))
	f.network.resize(memory / 8)
	f.socket.resize(memory / 16)
	turns := min(max(int64(f.cores/2), 1), max(memory/4/largest, 1))
	f.share.Store(memory / 4 / turns)
	f.turns.resize(int(turns))
}

// open makes the account of a connection to one of the doors.
func (f *fairness) open(door *budget, copies int64) *account {
	a := &account{fair: f, copies: copies, unladen: f.turns.look}
	a.requests.of, a.small.of, a.large.of, a.streams.of = door, &f.small, &f.answers, &f.streams
	return a
}

// know and forget note which accounts are open.
func (f *fairness) know(c *conn) {
	c.caller.account.conn.Store(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accounts[c.caller.account] = true
}

func (f *fairness) forget(a *account) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.accounts, a)
}

// enter takes what a request of so many bytes costs until it is answered, and
// returns it. A connection may have an eighth of what the door has once half
// is gone.
func (f *fairness) enter(a *account, bytes int) (int64, error) {
	cost := int64(requestBytes + requestCopies*bytes)
	door := a.requests.of
	crowded := door.used.Load() > door.limit.Load()/2 && a.requests.held.Load() > door.limit.Load()/8
	if crowded || !a.requests.try(cost) {
		return 0, f.shed.refuse(shedRequest, errTooMany)
	}
	return cost, nil
}

// register tells what is under way.
func (f *fairness) register(r prometheus.Registerer) {
	if r == nil {
		return
	}
	gauge := func(name, help string, value func() int64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("cleat_answers_under_way_bytes", "Memory of answers that are being read or sent, but for the smallest.", func() int64 {
		return f.answers.used.Load() + f.small.used.Load() + f.streams.used.Load()
	})
	gauge("cleat_requests_under_way_bytes", "Memory that requests under way count for.", func() int64 {
		return f.network.used.Load() + f.socket.used.Load()
	})
	gauge("cleat_large_reads_waiting", "Large reads that wait for their turn.", f.turns.waiting.Load)
}

// read carries out do, which reads, asks step as kv.ReadOptions tells and
// returns what the answer weighs. The load of an answer that weighs something
// is the caller's to settle.
func (f *fairness) read(ctx context.Context, a *account, do func(step func(int) error) (int, error)) (*load, error) {
	r := &reading{fairness: f, ctx: ctx, account: a}
	defer r.end()
	size, err := do(r.step)
	if errors.Is(err, errLarge) || err == nil && r.turn == nil && !r.keep(size) {
		if err = r.await(); err == nil {
			_, err = do(r.step)
		}
	}
	if err != nil {
		r.drop()
		return nil, f.verdict(err)
	}
	if r.turn != nil && r.load != nil {
		r.load.turn = r.turn
		r.turn.linger()
		r.turn = nil
	}
	return r.load, nil
}

// verdict tells and counts why a read is refused, if it is for want of room.
func (f *fairness) verdict(err error) error {
	switch {
	case errors.Is(err, errTooLarge):
		return f.shed.refuse(shedLarge, err)
	case errors.Is(err, errWaited):
		f.cut()
		return f.shed.refuse(shedWaited, err)
	case errors.Is(err, errLineFull):
		return f.shed.refuse(shedLine, errWaited)
	}
	return err
}

// cut closes the connections that hold memory and do not move.
func (f *fairness) cut() {
	f.mu.Lock()
	var idle []*account
	for a := range f.accounts {
		if a.owes(f.wait) {
			idle = append(idle, a)
		}
	}
	f.mu.Unlock()
	for _, a := range idle {
		f.shed.note(shedStalled)
		_ = a.conn.Load().Close() // whoever is there has not read for long
	}
}

// reading is a read on its way.
type reading struct {
	fairness *fairness
	ctx      context.Context
	account  *account
	cancel   context.CancelFunc // of the time that it may wait; nil: it has not begun

	bytes, steps int
	turn         *turn // nil: it needs none, or has it no more
	load         *load
}

// step is asked before the read goes on.
func (r *reading) step(bytes int) error {
	r.bytes += bytes
	r.steps++
	if r.turn != nil {
		runtime.Gosched() // whoever waits for a processor is sooner done
		return r.take(int64(bytes))
	}
	if r.bytes <= freeBytes && r.steps <= freeSteps {
		return nil
	}
	crowded := r.fairness.turns.waiting.Load() > 0 // what is read without a turn would be read twice
	if !crowded && r.bytes <= smallBytes && r.steps <= smallSteps && r.fit(bytes) {
		return nil
	}
	if !r.fairness.turns.try(r.account) {
		return errLarge
	}
	r.drop()
	r.turn = r.fairness.turns.begin()
	return r.take(int64(r.bytes))
}

// fit says whether there is room among the small answers for so many bytes more.
func (r *reading) fit(bytes int) bool {
	if r.load == nil {
		r.load = r.account.keep(r.bytes)
		return r.load != nil
	}
	n := int64(bytes) * r.account.copies
	if !r.load.purse.try(n) {
		return false
	}
	r.load.taken += n
	return true
}

// drop gives back what was taken.
func (r *reading) drop() {
	if r.load != nil {
		r.load.drop()
		r.load = nil
	}
}

// take makes the load heavier.
func (r *reading) take(bytes int64) error {
	if r.load == nil {
		r.load = &load{account: r.account, purse: &r.account.large}
	}
	bytes *= r.account.copies
	if r.load.taken+bytes > r.fairness.share.Load() {
		return errTooLarge
	}
	if !r.load.purse.try(bytes) {
		if err := r.load.purse.take(r.patience(), bytes); err != nil {
			return err
		}
	}
	r.load.taken += bytes
	return nil
}

// keep takes the memory of a small answer. The smallest are not counted.
func (r *reading) keep(size int) bool {
	if size <= copied || r.load != nil {
		return true
	}
	r.load = r.account.keep(size)
	return r.load != nil
}

// keep is nil if there is no room for so many bytes among the small answers.
func (a *account) keep(bytes int) *load {
	n := int64(bytes) * a.copies
	if !a.small.try(n) {
		return nil
	}
	return &load{account: a, purse: &a.small, taken: n}
}

// await waits for a turn to read from the beginning.
func (r *reading) await() error {
	r.drop()
	if err := r.fairness.turns.take(r.patience(), r.account); err != nil {
		return err
	}
	r.turn, r.bytes, r.steps = r.fairness.turns.begin(), 0, 0
	return nil
}

// patience is the request's context until the read has waited for long enough.
func (r *reading) patience() context.Context {
	if r.cancel == nil {
		r.ctx, r.cancel = context.WithTimeoutCause(r.ctx, r.fairness.wait, errWaited)
	}
	return r.ctx
}

func (r *reading) end() {
	if r.turn != nil {
		r.turn.end()
	}
	if r.cancel != nil {
		r.cancel()
	}
}

// settled settles an answer's load, if it has one.
func settled(l *load, p parts) parts {
	if l != nil {
		l.settle(p)
	}
	return p
}
