// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A group is the data of one log entry: the commands of concurrent proposals.
//
//	version 1 | count uvarint | count × (length uvarint | command)
//
// A group of no commands is an entry of raft's own: it proves that its term
// can commit.
const groupVersion = 1

var errGroup = errors.New("damaged group of commands")

func encodeGroup(proposals []*proposal) []byte {
	count, size := 0, 1+binary.MaxVarintLen64
	for _, p := range proposals {
		if p.barrier {
			continue
		}
		count++
		size += binary.MaxVarintLen64 + len(p.command)
	}
	data := make([]byte, 0, size)
	data = append(data, groupVersion)
	data = binary.AppendUvarint(data, uint64(count))
	for _, p := range proposals {
		if p.barrier {
			continue
		}
		data = binary.AppendUvarint(data, uint64(len(p.command)))
		data = append(data, p.command...)
	}
	return data
}

// appendGroup decodes data and appends its commands, which share data's
// memory, to commands.
func appendGroup(commands [][]byte, data []byte) ([][]byte, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: empty", errGroup)
	}
	if data[0] != groupVersion {
		return nil, fmt.Errorf("group of commands has format %d, this version reads %d", data[0], groupVersion)
	}
	count, rest, ok := cutUvarint(data[1:])
	if !ok || count > uint64(len(rest)) {
		return nil, fmt.Errorf("%w: count", errGroup)
	}
	for i := range count {
		size, tail, ok := cutUvarint(rest)
		if !ok || size > uint64(len(tail)) {
			return nil, fmt.Errorf("%w: command %d of %d", errGroup, i+1, count)
		}
		commands = append(commands, tail[:size:size])
		rest = tail[size:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errGroup, len(rest))
	}
	return commands, nil
}

func cutUvarint(data []byte) (value uint64, rest []byte, ok bool) {
	value, n := binary.Uvarint(data)
	if n <= 0 {
		return 0, nil, false
	}
	return value, data[n:], true
}
