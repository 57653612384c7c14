// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// finishTurn finishes a turn to the next segment that a crash has cut short.
//
// When a segment is full raft-wal writes its index with the last entries, and
// notes the next segment in its metadata a moment later. After a crash in
// between it opens the segment as one to write to, and then refuses every
// write, in this life and in all that follow: it is sealed. It takes for sealed
// even a segment whose last write, with the index, is not whole.
//
// So the next segment is noted here, before raft-wal looks. The index may not
// be whole, so nothing is made of it: see openCut. A full segment is larger
// than its limit; smaller ones need not be read.
func (m walMeta) finishTurn(state types.PersistentState) (types.PersistentState, error) {
	if len(state.Segments) == 0 {
		return state, nil
	}
	last := &state.Segments[len(state.Segments)-1]
	path := filepath.Join(m.path, segment.FileName(*last))
	file, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!last.SealTime.IsZero() || file.Size() <= int64(last.SizeLimit)) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	sealed, newest, err := m.files.ends(*last)
	switch {
	case err != nil || !sealed:
		return state, err
	case newest < last.BaseIndex: // not even its first write is whole
		return state, removeDurably(path)
	}
	now := time.Now()
	last.SealTime, last.MaxIndex, last.IndexStart = now, newest, 0
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: newest + 1, MinIndex: newest + 1,
		SizeLimit: last.SizeLimit, Codec: last.Codec, CreateTime: now,
	})
	state.NextSegmentID++
	return state, m.CommitState(state)
}

// ends says whether raft-wal takes a segment for sealed, and which of its
// entries is the newest that is whole.
func (s segments) ends(info types.SegmentInfo) (sealed bool, newest uint64, err error) {
	w, err := s.RecoverTail(info)
	if err != nil {
		return false, 0, err
	}
	sealed, _, err = w.Sealed()
	return sealed, w.LastIndex(), errors.Join(err, w.Close())
}
