// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// What members say to one another beside hraft's streams, integers as uvarints
// and texts with their length before them.
//
//	request: version 1 | kind | body
//	answer:  version 1 | code | body, or the error's text if the code is not 0
//
//	kind     request's body                  answer's body
//	propose  a group (group.go)              count × (code | index | result or error's text)
//	index    term of the one who asks        index that a read must wait for
//	confirm  –                               term of the member that answers
//	hello    address of the one who asks     verdict
//	reach    –                               index of the newest entry in the log
//	pace     –                               mean time of a write of the log, ns; 0 is unknown
//	change   operation | member | address    index
//	transfer member                          –
//	ask      0 or 1: of the leader only | …  …
const messageVersion = 1

const (
	kindPropose byte = iota + 1
	kindIndex
	kindConfirm
	kindHello
	kindReach
	kindChange
	kindTransfer
	kindAsk
	kindPace
)

// sentinels cross between members by their place here, counted from 1. The
// first that an error is counts. A member that stops has carried out nothing
// of what it refuses, and another may do it: to those who ask it leads no more.
var sentinels = []error{ErrUnknown, ErrNoLeader, ErrStopped, ErrTooLarge, ErrMember, ErrNotReady, ErrLastQuorum}

const codeOther = 255

func codeOf(err error) byte {
	if err == nil {
		return 0
	}
	for i, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return byte(i + 1)
		}
	}
	return codeOther
}

// errorOf is the error that another member answered with.
func errorOf(code byte, text string) error {
	switch {
	case code == 0:
		return nil
	case int(code) > len(sentinels):
		return errors.New(text)
	}
	sentinel := sentinels[code-1]
	text = strings.TrimPrefix(strings.TrimPrefix(text, sentinel.Error()), ": ")
	if errors.Is(sentinel, ErrStopped) {
		sentinel = ErrNoLeader
	}
	if text == "" {
		return sentinel
	}
	return fmt.Errorf("%w: %s", sentinel, text)
}

func encodeAnswer(body []byte, err error) []byte {
	if err != nil {
		body = []byte(err.Error())
	}
	return append([]byte{messageVersion, codeOf(err)}, body...)
}

var errMessage = errors.New("raft: damaged message")

func decodeAnswer(answer []byte) ([]byte, error) {
	if len(answer) < 2 {
		return nil, errMessage
	}
	if answer[0] != messageVersion {
		return nil, fmt.Errorf("raft: message has format %d, this version reads %d", answer[0], messageVersion)
	}
	if answer[1] != 0 {
		return nil, errorOf(answer[1], string(answer[2:]))
	}
	return answer[2:], nil
}

// call asks another member. The error is ErrUnknown if the member may have
// carried the request out, ErrUnreached if it did not get it, and what the
// member answered otherwise.
func (n *Node) call(ctx context.Context, member uint64, kind byte, body []byte) ([]byte, error) {
	s, ok := n.server(member)
	if !ok {
		return nil, fmt.Errorf("%w: %w: call %s", ErrUnreached, ErrMember, serverID(member))
	}
	address := n.hints.resolve(s.ID, string(s.Address))
	answer, err := n.config.Network.Call(ctx, member, address, append([]byte{messageVersion, kind}, body...))
	switch {
	case errors.Is(err, ErrUnreached):
		return nil, fmt.Errorf("raft: call member %s: %w", s.ID, err)
	case err != nil:
		return nil, fmt.Errorf("%w: call member %s: %w", ErrUnknown, s.ID, err)
	}
	return decodeAnswer(answer)
}

// callNumber is a call whose answer is one number.
func (n *Node) callNumber(ctx context.Context, member uint64, kind byte, body []byte) (uint64, error) {
	answer, err := n.call(ctx, member, kind, body)
	if err != nil {
		return 0, err
	}
	number, rest, ok := cutUvarint(answer)
	if !ok || len(rest) != 0 {
		return 0, errMessage
	}
	return number, nil
}

func number(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func appendText[T string | []byte](to []byte, text T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}
