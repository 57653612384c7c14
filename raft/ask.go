// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
)

// Ask passes a request to a member's Config.Asked, or to the leader's if
// member is 0, and returns its answer. Nothing is logged, and nothing of it
// survives a stop. For the leader it waits as long as ctx allows.
//
// ErrNoLeader and ErrUnreached mean that the request did not arrive,
// ErrUnknown that it may have. The error that Asked returns comes back as its
// text only.
func (n *Node) Ask(ctx context.Context, member uint64, request []byte) ([]byte, error) {
	if member == n.config.Member {
		return n.asked(ctx, member, request)
	}
	if member != 0 {
		return n.call(ctx, member, kindAsk, append([]byte{0}, request...))
	}
	for {
		l, err := n.awaitLeader(ctx)
		if err != nil {
			return nil, err
		}
		var answer []byte
		if l != nil {
			answer, err = n.asked(ctx, n.config.Member, request)
		} else {
			answer, err = n.call(ctx, n.leader(), kindAsk, append([]byte{1}, request...))
		}
		if errors.Is(err, ErrUnreached) {
			err = fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
		if err == nil || !n.again(ctx, err) {
			return answer, err
		}
	}
}

func (n *Node) answerAsk(ctx context.Context, from uint64, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, errMessage
	}
	if body[0] == 1 {
		if _, err := n.leading(ctx); err != nil {
			return nil, err
		}
	}
	return n.asked(ctx, from, body[1:])
}

func (n *Node) asked(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	if n.config.Asked == nil {
		return nil, errors.New("raft: this member answers no questions")
	}
	return n.config.Asked(ctx, from, request)
}
