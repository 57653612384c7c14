// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"encoding/binary"
	"fmt"

	hraft "github.com/hashicorp/raft"
)

// Answer carries out a request that arrived by [Network].Call from the member
// from, which the network has authenticated. What goes wrong is inside the
// answer; an error means that the request is not one, or that it comes from no
// member.
func (n *Node) Answer(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	if len(request) < 2 {
		return nil, errMessage
	}
	if request[0] != messageVersion {
		return nil, fmt.Errorf("raft: message has format %d, this version reads %d", request[0], messageVersion)
	}
	ctx, cancel := n.untilStopping(ctx)
	defer cancel()
	return encodeAnswer(n.answer(ctx, from, request[1], request[2:])), nil
}

// untilStopping returns a context that ends when the node stops, too.
func (n *Node) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	free := context.AfterFunc(n.life, cancel)
	return ctx, func() { free(); cancel() }
}

// answer puts body and error together for encodeAnswer.
func (n *Node) answer(ctx context.Context, from uint64, kind byte, body []byte) ([]byte, error) {
	if n.life.Err() != nil {
		return nil, n.stopReason()
	}
	switch kind { // what a member may ask that this one does not know of yet, or no longer
	case kindConfirm:
		return number(n.raft.CurrentTerm()), nil
	case kindReach:
		return number(n.raft.LastIndex()), nil
	case kindPace:
		return number(uint64(n.disk.pace.recent())), nil
	case kindHello:
		return n.answerHello(ctx, from, string(body))
	case kindAsk:
		return n.answerAsk(ctx, from, body)
	}
	if _, ok := n.server(from); !ok {
		return nil, fmt.Errorf("%w: %s is no member here", ErrMember, serverID(from))
	}
	switch kind {
	case kindPropose:
		return n.answerProposals(ctx, from, body)
	case kindIndex:
		return n.answerIndex(ctx, from, body)
	case kindChange:
		return n.answerChange(ctx, body)
	case kindTransfer:
		return n.answerTransfer(ctx, body)
	}
	return nil, fmt.Errorf("raft: request of kind %d, which this version does not know", kind)
}

// leading returns the present leadership. Another member has sent its caller
// here, so a leadership that is about to be ready is waited for, but no longer
// than the others take to find another leader.
func (n *Node) leading(ctx context.Context) (*leadership, error) {
	ctx, cancel := context.WithTimeout(ctx, n.config.ElectionTimeout)
	defer cancel()
	for {
		l, changed := n.reign.current()
		if l.isReady() {
			return l, nil
		}
		if n.raft.State() != hraft.Leader {
			return nil, fmt.Errorf("%w: %s leads no more", ErrNoLeader, n.id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s is not ready: %w", ErrNoLeader, n.id, ctx.Err())
		}
	}
}

// answerProposals puts another member's commands in line with this member's.
func (n *Node) answerProposals(ctx context.Context, from uint64, body []byte) ([]byte, error) {
	commands, err := appendGroup(nil, body)
	if err != nil {
		return nil, err
	}
	if !n.guests.enter() {
		return nil, fmt.Errorf("%w: %s stops", ErrNoLeader, n.id)
	}
	defer n.guests.leave()
	if _, err := n.leading(ctx); err != nil {
		return nil, err
	}
	if n.transport != nil {
		defer n.transport.await(serverID(from))()
	}
	ps := make([]*proposal, len(commands))
	for i, c := range commands {
		ps[i] = &proposal{command: c, done: make(chan outcome, 1)}
	}
	g, err := n.line.joinAll(ps)
	if err != nil {
		return nil, err
	}
	if g != nil {
		n.submit(g, untilDeadline(ctx))
	}
	answer := binary.AppendUvarint(nil, uint64(len(ps)))
	for _, p := range ps {
		answer = appendOutcome(answer, n.awaitOutcome(ctx, p))
	}
	return answer, nil
}

func (n *Node) awaitOutcome(ctx context.Context, p *proposal) outcome {
	select {
	case out := <-p.done:
		return out
	case <-ctx.Done():
		return n.line.leave(p, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err()))
	}
}

func appendOutcome(answer []byte, out outcome) []byte {
	answer = append(answer, codeOf(out.err))
	answer = binary.AppendUvarint(answer, out.index)
	if out.err != nil {
		return appendText(answer, out.err.Error())
	}
	return appendText(answer, out.result)
}

func decodeOutcomes(answer []byte, want int) ([]outcome, error) {
	r := reader{rest: answer}
	if r.uvarint() != uint64(want) {
		return nil, errMessage
	}
	outs := make([]outcome, want)
	for i := range outs {
		code := r.byte()
		outs[i].index = r.uvarint()
		text := r.text()
		if code == 0 {
			outs[i].result = []byte(text)
		} else {
			outs[i].err = errorOf(code, text)
		}
	}
	if r.bad || len(r.rest) != 0 {
		return nil, errMessage
	}
	return outs, nil
}

func (n *Node) answerIndex(ctx context.Context, from uint64, body []byte) ([]byte, error) {
	l, err := n.leading(ctx)
	if err != nil {
		return nil, err
	}
	index, ok := n.vouched(l, from, body)
	if !ok {
		if index, err = n.readIndex(ctx, l); err != nil {
			return nil, err
		}
	}
	n.spreadTo(from, index)
	return number(index), nil
}
