// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	hraft "github.com/hashicorp/raft"
)

// What goes over a stream of entries, integers as uvarints and texts with their
// length before them. Requests and answers take turns.
//
//	stream:  0xe1 | request, answer, request, answer, …
//	request: length, 4 bytes big endian | head | term | previous index | previous term | commit |
//	         count | count × (index | term | type | time of appending, ns | data)
//	answer:  length, 4 bytes big endian | head | term | newest index | flags | error's text
//	head:    hraft's protocol version | member's id | member's address
//
// The first byte is the format's number behind a mark that hraft's own messages
// do not begin with; these have streams of their own. hraft would send entries
// in msgpack: a tenth of what a lone write costs each member.
const entriesMark = 0xe1

const (
	answerSuccess = 1 << iota
	answerNoBackoff
)

// maxEntriesBytes bounds a request that is read: one message, or one entry that
// is larger, with room for what is around it.
const maxEntriesBytes = maxMessageBytes + maxCommandBytes + 1<<20

// maxEntries is far beyond maxAppendEntries, which a later version may raise.
const maxEntries = 1 << 12

func appendHead(to []byte, h hraft.RPCHeader) []byte {
	to = binary.AppendVarint(to, int64(h.ProtocolVersion))
	return appendText(appendText(to, h.ID), h.Addr)
}

func (r *reader) head() hraft.RPCHeader {
	h := hraft.RPCHeader{ProtocolVersion: hraft.ProtocolVersion(r.varint())}
	h.ID, h.Addr = r.bytes(), r.bytes()
	return h
}

// appendRequest appends a request, its length in front.
func appendRequest(to []byte, r *hraft.AppendEntriesRequest) []byte {
	at := len(to)
	to = appendHead(append(to, 0, 0, 0, 0), r.RPCHeader)
	to = appendUvarints(to, r.Term, r.PrevLogEntry, r.PrevLogTerm, r.LeaderCommitIndex, uint64(len(r.Entries)))
	for _, l := range r.Entries {
		to = append(appendUvarints(to, l.Index, l.Term), byte(l.Type))
		appended := int64(0)
		if !l.AppendedAt.IsZero() {
			appended = l.AppendedAt.UnixNano()
		}
		to = appendText(binary.AppendVarint(to, appended), l.Data)
	}
	return withLength(to, at)
}

func withLength(to []byte, at int) []byte {
	binary.BigEndian.PutUint32(to[at:], uint32(len(to)-at-4))
	return to
}

// decodeRequest reads a request without its length. Its entries share the
// message's memory.
func decodeRequest(message []byte) (*hraft.AppendEntriesRequest, error) {
	r := reader{rest: message}
	a := &hraft.AppendEntriesRequest{RPCHeader: r.head()}
	a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex = r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	count := r.uvarint()
	if r.bad || count > maxEntries {
		return nil, errMessage
	}
	logs := make([]hraft.Log, count)
	a.Entries = make([]*hraft.Log, count)
	for i := range logs {
		l := &logs[i]
		l.Index, l.Term, l.Type = r.uvarint(), r.uvarint(), hraft.LogType(r.byte())
		if ns := r.varint(); ns != 0 {
			l.AppendedAt = time.Unix(0, ns)
		}
		l.Data = r.bytes()
		a.Entries[i] = l
	}
	if r.bad || len(r.rest) != 0 {
		return nil, errMessage
	}
	return a, nil
}

// appendEntriesAnswer appends an answer, its length in front.
func appendEntriesAnswer(to []byte, a *hraft.AppendEntriesResponse, cause error) []byte {
	at := len(to)
	to = appendHead(append(to, 0, 0, 0, 0), a.RPCHeader)
	to = appendUvarints(to, a.Term, a.LastLog)
	flags, text := byte(0), ""
	if a.Success {
		flags |= answerSuccess
	}
	if a.NoRetryBackoff {
		flags |= answerNoBackoff
	}
	if cause != nil {
		text = cause.Error()
	}
	return withLength(appendText(append(to, flags), text), at)
}

// decodeEntriesAnswer fills in an answer, and returns what the other member
// says went wrong.
func decodeEntriesAnswer(message []byte, a *hraft.AppendEntriesResponse) error {
	r := reader{rest: message}
	a.RPCHeader = r.head()
	a.Term, a.LastLog = r.uvarint(), r.uvarint()
	flags, text := r.byte(), r.text()
	a.Success, a.NoRetryBackoff = flags&answerSuccess != 0, flags&answerNoBackoff != 0
	switch {
	case r.bad || len(r.rest) != 0:
		return errMessage
	case text != "":
		return errors.New(text)
	}
	return nil
}

// readMessage reads a message of at most limit bytes.
func readMessage(from *bufio.Reader, limit int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(length[:]))
	if n > limit {
		return nil, fmt.Errorf("raft: message of %d bytes, at most %d are taken", n, limit)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(from, message); err != nil {
		return nil, err
	}
	return message, nil
}
