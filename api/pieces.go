// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"runtime"
)

// pieces is a RangeStream on its way. It is small like any read at first. Then
// it takes, once, what its pieces need at most, and a turn for each piece, which
// ends when the piece before is on its way, or sooner, as that of any read does.
type pieces struct {
	fairness *fairness
	flow     *flow
	bytes    int
	steps    int
	large    bool
	turn     *turn // nil: it has none
}

func (f *fairness) pieces(of *flow) *pieces { return &pieces{fairness: f, flow: of} }

// step is asked while a piece is read.
func (p *pieces) step(int) error {
	p.steps++
	if p.large {
		runtime.Gosched() // as in reading.step
	}
	return context.Cause(p.flow.ctx)
}

// next is called when so many bytes were read, before more are.
func (p *pieces) next(bytes int) error {
	p.bytes += bytes
	if p.bytes <= freeBytes && p.steps <= freeSteps {
		return nil
	}
	p.sent()
	ctx, cancel := context.WithTimeoutCause(p.flow.ctx, p.fairness.wait, errWaited)
	defer cancel()
	a := p.flow.caller.account
	a.gave()
	if !p.large {
		if err := a.streams.take(ctx, streamBytes); err != nil {
			return err
		}
		p.large = true
	}
	if err := p.fairness.turns.take(ctx, a); err != nil {
		return err
	}
	p.turn = p.fairness.turns.begin()
	return nil
}

// sending is called when a piece was read and the one before is to be sent.
func (p *pieces) sending() {
	if p.turn != nil {
		p.turn.linger()
	}
}

// sent is called when it is on its way.
func (p *pieces) sent() {
	if p.turn != nil {
		p.turn.end()
		p.turn = nil
	}
}

func (p *pieces) end() {
	p.sent()
	if p.large {
		p.flow.caller.account.streams.give(streamBytes)
		p.flow.caller.account.gave()
	}
}
