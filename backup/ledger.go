// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/state"
)

// The ledger is what etcd has nothing like: the CA with its keys sealed, the
// certificates that it has issued, those that are revoked. It goes into a bucket
// of its own, which etcd and its tools carry along and never look at.

func (s *Source) writeLedger(w *file.Writer) error {
	if err := w.Bucket(file.Ledger); err != nil {
		return err
	}
	n := 0
	return s.View.Ledger(func(key, value []byte) error {
		if n++; n%pauseEvery == 0 {
			if err := s.Pause(); err != nil {
				return err
			}
		}
		return w.Put(key, value)
	})
}

// ledgerRoom is what writeLedger takes at most.
func (s *Source) ledgerRoom() (room int64, err error) {
	err = s.View.Ledger(func(key, value []byte) error {
		room += file.Room(int64(len(key)+len(value))) + file.Room(int64(len(key)))
		return nil
	})
	return room, err
}

// WalkLedger calls fn for each item of the ledger in a snapshot, and for none
// in one of etcd's, which has no ledger. The slices are valid during the call
// only. fn's error ends it; the others are [file.ErrDamaged].
func WalkLedger(s *file.Reader, fn func(state.LedgerItem) error) error {
	return s.Walk(file.Ledger, func(key, value []byte) error {
		item, err := state.DecodeLedgerItem(key, value)
		if err != nil {
			return fmt.Errorf("%w: %w", file.ErrDamaged, err)
		}
		return fn(item)
	})
}

// RestoreLedger gives a state, right after Restore, what a snapshot's ledger has
// that is to be kept.
func RestoreLedger(s *file.Reader, m *state.Machine, keep func(state.LedgerItem) bool) error {
	return m.LoadLedger(func(add func(state.LedgerItem) error) error {
		return WalkLedger(s, func(i state.LedgerItem) error {
			if !keep(i) {
				return nil
			}
			return add(i)
		})
	})
}
