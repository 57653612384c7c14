// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"time"

	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/state"
)

// replica is the ledger as this member has it, for what must be known at every
// handshake, and what a member that is cut off must go by.
type replica struct{ *state.Machine }

var _ pki.Replica = replica{}

func (r replica) Get(bucket string, key []byte) ([]byte, error) {
	return r.LedgerGet(time.Now(), bucket, key)
}

func (r replica) List(bucket string, prefix []byte) ([]pki.Item, error) {
	return itemsOf(r.LedgerList(time.Now(), bucket, prefix))
}

func (r replica) Changed(bucket string) <-chan struct{} { return r.LedgerChanged(bucket) }
