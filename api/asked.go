// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cleatd/cleat/lease"
)

// The time that a lease has left is known where the leader is. Requests that
// come to another member ask there.
//
// Question: kind, lease id. Answer: outcome, then seconds or nanoseconds.
const (
	askRenew byte = iota + 1
	askRemaining
)

const (
	askedDone byte = iota
	askedNotFound
	askedNotLeading // or not yet
)

var errAsked = errors.New("api: malformed question or answer about a lease")

// AnswerLease answers what another member's server asks about a lease.
func AnswerLease(ctx context.Context, k Keeper, question []byte) ([]byte, error) {
	if len(question) < 2 {
		return nil, errAsked
	}
	id, n := binary.Varint(question[1:])
	if n != len(question)-1 {
		return nil, errAsked
	}
	var value int64
	var err error
	switch question[0] {
	case askRenew:
		value, err = k.Renew(ctx, id)
	case askRemaining:
		var left time.Duration
		left, err = k.Remaining(id)
		value = int64(left)
	default:
		return nil, fmt.Errorf("%w: kind %d, which this version does not know", errAsked, question[0])
	}
	switch {
	case err == nil:
		return binary.AppendVarint([]byte{askedDone}, value), nil
	case errors.Is(err, lease.ErrNotFound):
		return []byte{askedNotFound}, nil
	case errors.Is(err, lease.ErrNotLeading):
		return []byte{askedNotLeading}, nil
	}
	return nil, err
}

// renew gives a lease its whole time again, wherever its clock is.
func (s *Server) renew(ctx context.Context, id int64) (ttl int64, err error) {
	ttl, err = s.config.Keeper.Renew(ctx, id)
	if errors.Is(err, lease.ErrNotLeading) && s.config.Ask != nil {
		return s.askLeader(ctx, askRenew, id)
	}
	return ttl, err
}

// remaining is how long a lease has left.
func (s *Server) remaining(ctx context.Context, id int64) (time.Duration, error) {
	left, err := s.config.Keeper.Remaining(id)
	if errors.Is(err, lease.ErrNotLeading) && s.config.Ask != nil {
		nanos, err := s.askLeader(ctx, askRemaining, id)
		return time.Duration(nanos), err
	}
	return left, err
}

// askPause is left between two questions to a leader whose clocks do not run
// yet.
const askPause = 10 * time.Millisecond

func (s *Server) askLeader(ctx context.Context, kind byte, id int64) (int64, error) {
	question := binary.AppendVarint([]byte{kind}, id)
	for {
		answer, err := s.config.Ask(ctx, question)
		switch {
		case err != nil:
			return 0, err
		case len(answer) == 0:
			return 0, errAsked
		case answer[0] == askedNotFound:
			return 0, lease.ErrNotFound
		case answer[0] == askedDone:
			value, n := binary.Varint(answer[1:])
			if n <= 0 {
				return 0, errAsked
			}
			return value, nil
		case answer[0] != askedNotLeading:
			return 0, fmt.Errorf("%w: outcome %d, which this version does not know", errAsked, answer[0])
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", lease.ErrNotLeading, ctx.Err())
		}
	}
}
