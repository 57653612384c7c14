// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
)

// Entry is a piece of the agreed log: one index, and the commands packed under
// it.
type Entry struct {
	Index    uint64
	Commands [][]byte
}

// Apply carries out entries in order and commits their effects, with the
// newest index, in one batch. It returns one result a command. Entries at or
// below the applied index were applied before a restart; they are skipped and
// their results are empty. After a disk's fault it returns nil, having told
// Config.Fatal, and nothing of the batch is visible.
func (m *Machine) Apply(entries []Entry) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil || len(entries) == 0 {
		return nil
	}
	known := m.roll.Load()
	a := applier{
		machine: m, batch: m.store.NewBatch(),
		format: known.format, alarmed: alarmedBy(known.alarms), rules: m.rules.Load().Rules,
	}
	defer a.batch.Close()
	applied := m.store.AppliedIndex()
	var results [][]byte
	for _, e := range entries {
		if e.Index <= applied {
			results = append(results, make([][]byte, len(e.Commands))...)
			continue
		}
		a.index = e.Index
		for _, c := range e.Commands {
			result, err := a.apply(c)
			if err != nil {
				_ = m.failLocked(fmt.Errorf("apply entry %d: %w", e.Index, err)) // told to Fatal
				return nil
			}
			results = append(results, result)
		}
		applied = e.Index
	}
	if err := a.commit(applied); err != nil {
		_ = m.failLocked(fmt.Errorf("commit up to entry %d: %w", applied, err)) // told to Fatal
		return nil
	}
	if a.rows {
		if err := m.reload(); err != nil {
			_ = m.failLocked(err) // told to Fatal
			return nil
		}
	}
	m.ledger.tell(a.buckets)
	for _, c := range a.compactions {
		m.trackPhysical(c.revision, c.done)
	}
	return results
}

// applier is one Apply: a batch, and what must wait for its commit.
type applier struct {
	machine     *Machine
	batch       *kv.Batch
	index       uint64 // of the entry being applied
	compactions []compaction
	rows        bool            // those that are kept in memory have changed
	buckets     map[string]bool // of the ledger, that have changed
	format      uint32          // the cluster's
	alarmed     alarmed
	caller      auth.Caller
	rules       *auth.Rules // after the commands so far
}

// commit makes the batch visible, and with it the rules that came in it.
func (a *applier) commit(applied uint64) error {
	if a.rules == a.machine.rules.Load().Rules {
		return a.batch.Commit(applied)
	}
	settle := a.machine.unsettle()
	err := a.batch.Commit(applied)
	settle(a.rules)
	return err
}

type compaction struct {
	revision int64
	done     <-chan struct{}
}

// apply carries out one command. Its error is the disk's, or a command that
// this member cannot read: both stop the member.
func (a *applier) apply(command []byte) (result []byte, err error) {
	if len(command) > 0 && uint32(command[0]) > a.format {
		return refusal(ErrFormat), nil // whatever it says: others may not be able to read it
	}
	k, id, body, err := splitCommand(command)
	if err != nil {
		return nil, err
	}
	a.caller = auth.Caller(id)
	var reply Reply
	err = a.alarmed.forbids(k, body)
	if err == nil && k.administers() {
		err = a.rules.Admin(a.caller)
	}
	if err == nil {
		reply, err = a.dispatch(k, body)
	}
	if err == nil {
		return appendReply(make([]byte, 0, 12+len(reply.Payload)), reply), nil
	}
	if isRefusal(err) {
		return refusal(err), nil
	}
	return nil, err
}

func (a *applier) dispatch(k kind, body []byte) (Reply, error) {
	switch k {
	case kindPut:
		var r pb.PutRequest
		return with(body, &r, a.put)
	case kindTxn:
		var r pb.TxnRequest
		return with(body, &r, a.txn)
	case kindDeleteRange:
		var r pb.DeleteRangeRequest
		return with(body, &r, a.deleteRange)
	case kindCompact:
		var r pb.CompactionRequest
		return with(body, &r, a.compact)
	case kindLeaseGrant:
		var r pb.LeaseGrantRequest
		return with(body, &r, a.grant)
	case kindLeaseRevoke:
		var r pb.LeaseRevokeRequest
		return with(body, &r, a.revokeRequest)
	case kindLeaseExpire:
		return a.expire(body)
	case kindLeaseCheckpoint:
		return a.checkpoint(body)
	case kindLedgerCommit:
		return a.ledgerCommit(body)
	case kindLedgerExpire:
		return a.ledgerExpire(body)
	case kindForm:
		return a.form(body)
	case kindMemberAdd:
		return a.memberSet(body, true)
	case kindMemberSet:
		return a.memberSet(body, false)
	case kindMemberPromote:
		return a.memberPromote(body)
	case kindMemberRemove:
		return a.memberRemove(body)
	case kindMemberLeave:
		return a.memberChange(body, func(m *Member) { m.Leaving = true })
	case kindMemberStay:
		return a.memberChange(body, func(m *Member) { m.Leaving = false })
	case kindFormat:
		return a.raise(body)
	case kindRecover:
		return a.recoverAs(body)
	case kindAlarmOn:
		return a.alarm(body, true)
	case kindAlarmOff:
		return a.alarm(body, false)
	}
	if k.ofAuth() {
		return a.dispatchAuth(k, body)
	}
	return Reply{}, fmt.Errorf("state: command of unknown kind %d: this member is too old for the log", k)
}

// with decodes body into r and calls fn with it.
func with[M proto.Message](body []byte, r M, fn func(M) (Reply, error)) (Reply, error) {
	if err := proto.Unmarshal(body, r); err != nil {
		return Reply{}, fmt.Errorf("state: decode %T: %w", r, err)
	}
	return fn(r)
}

func (a *applier) put(r *pb.PutRequest) (Reply, error) {
	t := a.batch.Begin()
	defer t.End()
	w := writer{a, t}
	if err := a.permit().put(r); err != nil {
		return Reply{}, err
	}
	if err := w.checkPut(r); err != nil {
		return Reply{}, err
	}
	payload, err := w.put(nil, r)
	return Reply{Revision: t.Revision(), Payload: payload}, err
}

func (a *applier) deleteRange(r *pb.DeleteRangeRequest) (Reply, error) {
	if err := a.permit().deleteRange(r); err != nil {
		return Reply{}, err
	}
	t := a.batch.Begin()
	defer t.End()
	payload, err := writer{a, t}.deleteRange(nil, r)
	return Reply{Revision: t.Revision(), Payload: payload}, err
}

func (a *applier) compact(r *pb.CompactionRequest) (Reply, error) {
	done, err := a.batch.Compact(r.Revision)
	if err != nil {
		return Reply{}, err
	}
	a.compactions = append(a.compactions, compaction{r.Revision, done})
	return Reply{Revision: a.revision()}, nil
}

// form names the cluster; a second forming of the same cluster changes nothing.
func (a *applier) form(body []byte) (Reply, error) {
	if len(body) != 8 || binary.BigEndian.Uint64(body) == 0 {
		return Reply{}, fmt.Errorf("state: form with a cluster id of %d bytes", len(body))
	}
	have, err := a.batch.Get(tableMeta, metaCluster)
	if err != nil {
		return Reply{}, err
	}
	if have != nil && string(have) != string(body) {
		return Reply{}, ErrFormed
	}
	a.batch.Set(tableMeta, metaCluster, body)
	return Reply{Revision: a.revision()}, nil
}

// revision is the store's, with what this batch has changed so far.
func (a *applier) revision() int64 {
	t := a.batch.Begin()
	return t.End()
}
