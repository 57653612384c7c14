// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
)

// checkpointOf is what a machine writes at index.
func checkpointOf(t *testing.T, m *Machine, index uint64) []byte {
	t.Helper()
	c, err := m.Checkpoint(index)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := c.WriteTo(&stream); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return stream.Bytes()
}

func TestAMachineBecomesWhatAnotherIs(t *testing.T) {
	from := newMachine(t)
	mustApply(t, from, 1, FormCommand(7), put("a", "1"), LeaseGrantCommand(Identity{Root: true}, &pb.LeaseGrantRequest{ID: 5, TTL: 60}),
		MemberSetCommand(Identity{Root: true}, Member{ID: 3, Name: "three"}), put("a", "2"))
	stream := checkpointOf(t, from, 4) // 2 to 4 were raft's own

	fs := vfs.NewCrashableMem()
	to := openMachine(t, fs, func(err error) { t.Errorf("fatal: %v", err) })
	mustApply(t, to, 1, FormCommand(7), put("b", "1"), LeaseGrantCommand(Identity{Root: true}, &pb.LeaseGrantRequest{ID: 6, TTL: 60}),
		MemberSetCommand(Identity{Root: true}, Member{ID: 4, Name: "four"}))
	changed, ledger := to.MembersChanged(), to.LedgerChanged("any")
	p, err := to.Prepare(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Index() != 4 || to.AppliedIndex() != 1 {
		t.Errorf("prepared %d, and at %d already", p.Index(), to.AppliedIndex())
	}
	if err := p.Install(); err != nil {
		t.Fatal(err)
	}
	check := func(m *Machine) {
		t.Helper()
		if got, want := hashOf(t, m), hashOf(t, from); got != want {
			t.Errorf("hash %+v, want %+v", got, want)
		}
		if _, known := m.Leases().Lookup(5); !known || m.Leases().Len() != 1 {
			t.Errorf("%d leases, want the other's", m.Leases().Len())
		}
		if _, known := m.Member(3); !known || len(m.Members()) != 1 {
			t.Errorf("members %+v, want the other's", m.Members())
		}
		if m.AppliedIndex() != 4 {
			t.Errorf("at index %d, want 4", m.AppliedIndex())
		}
	}
	check(to)
	<-changed
	<-ledger
	check(openMachine(t, fs.CrashClone(vfs.CrashCloneCfg{}), func(err error) { t.Errorf("fatal: %v", err) }))
	mustApply(t, to, 5, put("c", "1"))
	mustApply(t, from, 5, put("c", "1"))
	if hashOf(t, to) != hashOf(t, from) {
		t.Error("they differ after the next entry")
	}
	if _, err := to.Prepare(bytes.NewReader(stream)); !errors.Is(err, kv.ErrOlder) {
		t.Errorf("an older state: %v", err)
	}
}

func TestAStateThatIsNotForThisMemberIsRefused(t *testing.T) {
	from := newMachine(t)
	mustApply(t, from, 1, FormCommand(7))
	stream := checkpointOf(t, from, 1)
	foreign := newMachine(t)
	mustApply(t, foreign, 1, FormCommand(8))
	if _, err := foreign.Prepare(bytes.NewReader(stream)); !errors.Is(err, ErrForeign) {
		t.Errorf("another cluster's: %v, want ErrForeign", err)
	}
	newer := newMachine(t)
	b := newer.store.NewBatch()
	b.Set(tableMeta, metaFormat, []byte{0, 0, 0, Format + 1})
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := newMachine(t).Prepare(bytes.NewReader(checkpointOf(t, newer, 1))); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer format: %v, want ErrFormat", err)
	}
}

func TestAPreparedStateThatCannotBeTakenStopsTheMachine(t *testing.T) {
	from := newMachine(t)
	mustApply(t, from, 2, put("a", "1"))
	stream := checkpointOf(t, from, 2)
	m, sick, told := failing(t)
	mustApply(t, m, 1, put("b", "1"))
	p, err := m.Prepare(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	sick.Store(true)
	if err := p.Install(); err == nil {
		t.Error("installed on a disk that fails")
	}
	<-told
	if results := m.Apply([]Entry{{Index: 2, Commands: [][]byte{put("a", "2")}}}); results != nil {
		t.Errorf("answered %q", results)
	}
}
