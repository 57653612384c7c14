// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"time"

	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// machine is the state as raft sees it. The two do not know each other: raft
// carries bytes, state gives them meaning.
type machine struct{ *state.Machine }

var _ raft.Machine = machine{}

func (m machine) Apply(entries []raft.Entry) [][]byte {
	plain := make([]state.Entry, len(entries))
	for i, e := range entries {
		plain[i] = state.Entry{Index: e.Index, Commands: e.Commands}
	}
	return m.Machine.Apply(plain)
}

func (m machine) Checkpoint(index uint64) (raft.Checkpoint, error) {
	return m.Machine.Checkpoint(index)
}

func (m machine) Prepare(from io.Reader) (raft.Prepared, error) { return m.Machine.Prepare(from) }

// ledger is the state's ledger as the CA sees it: reads are linearizable,
// commits are proposed.
type ledger struct{ *Daemon }

var _ pki.Ledger = ledger{}

func (l ledger) Get(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	if err := l.node.Sync(ctx); err != nil {
		return nil, err
	}
	return l.machine.LedgerGet(time.Now(), bucket, key)
}

func (l ledger) List(ctx context.Context, bucket string, prefix []byte) ([]pki.Item, error) {
	if err := l.node.Sync(ctx); err != nil {
		return nil, err
	}
	return itemsOf(l.machine.LedgerList(time.Now(), bucket, prefix))
}

func itemsOf(found []state.Item, err error) ([]pki.Item, error) {
	items := make([]pki.Item, len(found))
	for i, f := range found {
		items[i] = pki.Item(f)
	}
	return items, err
}

var ledgerConditions = map[pki.Condition]state.Condition{
	pki.Always: state.Always,
	pki.Absent: state.Absent,
	pki.Equals: state.Equals,
}

// Commit returns false when a condition did not hold.
func (l ledger) Commit(ctx context.Context, ops []pki.Op) (bool, error) {
	plain := make([]state.Op, len(ops))
	for i, op := range ops {
		plain[i] = state.Op{
			Bucket: op.Bucket, Key: op.Key, Value: op.Value, Expires: op.Expires,
			If: ledgerConditions[op.If], Old: op.Old,
		}
	}
	return committed(l.node.Propose(ctx, state.LedgerCommand(time.Now(), plain)))
}
