// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store that is written to no more, because its disk is short of room, must
// keep neither old files open nor deletions in memory, or the room that was
// made by deleting and compacting would never come back. Not all of it comes
// at once: Pebble merges its first level only when enough has gathered there.
func TestRoomComesBackWithoutFurtherWrites(t *testing.T) {
	s, err := Open(Options{Dir: "db", FS: vfs.NewMem(), MemtableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const keys, size = 2000, 4 << 10
	index := uint64(0)
	chance := rand.NewChaCha8([32]byte{})
	value := make([]byte, size)
	for i := range keys {
		index++
		_, _ = chance.Read(value) // never fails
		put(t, s, index, fmt.Sprint(i), string(value))
	}
	b := s.NewBatch()
	defer b.Close()
	txn := b.Begin()
	txn.Delete(everything, false)
	rev := txn.End()
	done, err := b.Compact(rev)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(index + 1); err != nil {
		t.Fatal(err)
	}
	<-done
	eventually(t, func() error { return s.room(keys * size * 3 / 4) })
}

func (s *Store) room(most int64) error {
	m := s.db.Metrics()
	if m.Table.ZombieCount > 0 {
		return fmt.Errorf("%d files are kept that nobody needs", m.Table.ZombieCount)
	}
	if total, _ := s.Size(); total > most {
		return fmt.Errorf("%d bytes are in use, want at most %d", total, most)
	}
	if m.MemTable.Count > 1 {
		return errors.New("deletions are still in memory")
	}
	return nil
}
