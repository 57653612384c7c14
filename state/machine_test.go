// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

func newMachine(t testing.TB) *Machine {
	t.Helper()
	return openMachine(t, vfs.NewMem(), func(err error) { t.Errorf("fatal: %v", err) })
}

func openMachine(t testing.TB, fs vfs.FS, fatal func(error)) *Machine {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := kv.Open(kv.Options{Dir: "state", FS: fs, Logger: log, Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // some tests close it themselves
	leases, err := lease.Load(LeaseReader(store), nil)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Store: store, Leases: leases, Logger: log, Fatal: fatal})
}

func hashOf(t testing.TB, m *Machine) kv.Hash {
	t.Helper()
	h, err := m.Store().HashKV(0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustApply(t testing.TB, m *Machine, index uint64, commands ...[]byte) [][]byte {
	t.Helper()
	results := m.Apply([]Entry{{Index: index, Commands: commands}})
	if len(results) != len(commands) {
		t.Fatalf("%d results for %d commands", len(results), len(commands))
	}
	return results
}

func put(key, value string) []byte {
	return PutCommand(Identity{Root: true}, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func TestEntriesAlreadyAppliedAreSkipped(t *testing.T) {
	m := newMachine(t)
	mustApply(t, m, 1, put("a", "1"))
	mustApply(t, m, 2, put("a", "2"))
	before := hashOf(t, m)
	results := m.Apply([]Entry{
		{Index: 1, Commands: [][]byte{put("a", "1")}},
		{Index: 2, Commands: [][]byte{put("a", "2")}},
	})
	if len(results) != 2 || results[0] != nil || results[1] != nil {
		t.Errorf("a replay answered %q", results)
	}
	if after := hashOf(t, m); after != before {
		t.Errorf("a replay changed the state from %v to %v", before, after)
	}
}

func TestPersistRecordsAnIndexThatNoCommandReached(t *testing.T) {
	fs := vfs.NewCrashableMem()
	m := openMachine(t, fs, func(err error) { t.Errorf("fatal: %v", err) })
	mustApply(t, m, 3, put("a", "1"))
	if err := m.Persist(9); err != nil {
		t.Fatal(err)
	}
	crashed := openMachine(t, fs.CrashClone(vfs.CrashCloneCfg{}), func(err error) { t.Errorf("fatal: %v", err) })
	if got := crashed.AppliedIndex(); got != 9 {
		t.Errorf("applied index %d after a crash, want 9", got)
	}
	if r, err := crashed.Range(Identity{}, &pb.RangeRequest{Key: []byte("a")}, nil); err != nil || r.Count != 1 {
		t.Errorf("the key is gone after a crash: %+v %v", r, err)
	}
}

func TestClusterIsNamedOnce(t *testing.T) {
	m := newMachine(t)
	mustApply(t, m, 1, FormCommand(42))
	if id, err := m.Cluster(); id != 42 || err != nil {
		t.Errorf("cluster %d, %v", id, err)
	}
	results := mustApply(t, m, 2, FormCommand(42), FormCommand(43))
	if _, err := ParseResult(results[0]); err != nil {
		t.Errorf("the same cluster again: %v", err)
	}
	if _, err := ParseResult(results[1]); !errors.Is(err, ErrFormed) {
		t.Errorf("another cluster: %v, want ErrFormed", err)
	}
}

func TestUnknownCommandsStopTheMember(t *testing.T) {
	for name, command := range map[string][]byte{
		"version 0":       {0, byte(kindPut), 0, 0},
		"an unknown kind": {commandVersion, 200, 0, 0},
		"cut":             {commandVersion},
		"not a request":   append(appendPrefix(nil, kindPut, Identity{}), 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			var fatal error
			m := openMachine(t, vfs.NewMem(), func(err error) { fatal = err })
			if results := m.Apply([]Entry{{Index: 1, Commands: [][]byte{command}}}); results != nil {
				t.Errorf("answered %q", results)
			}
			if fatal == nil {
				t.Error("nobody was told")
			}
			if results := m.Apply([]Entry{{Index: 2, Commands: [][]byte{put("a", "1")}}}); results != nil {
				t.Errorf("applied after the failure: %q", results)
			}
			if got := m.AppliedIndex(); got != 0 {
				t.Errorf("applied index %d", got)
			}
		})
	}
}

func TestLeasesAndTheirKeysComeBackFromDisk(t *testing.T) {
	fs := vfs.NewMem()
	m := openMachine(t, fs, func(err error) { t.Errorf("fatal: %v", err) })
	root := Identity{Root: true}
	mustApply(t, m, 1,
		LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: 5, TTL: 60}),
		PutCommand(root, &pb.PutRequest{Key: []byte("a"), Lease: 5}))
	if err := m.Store().Close(); err != nil {
		t.Fatal(err)
	}
	again := openMachine(t, fs, func(err error) { t.Errorf("fatal: %v", err) })
	if _, known := again.Leases().Lookup(5); !known {
		t.Fatal("the lease is gone")
	}
	mustApply(t, again, 2, LeaseRevokeCommand(root, &pb.LeaseRevokeRequest{ID: 5}))
	if r, err := again.Range(root, &pb.RangeRequest{Key: []byte("a")}, nil); err != nil || r.Count != 0 {
		t.Errorf("the key outlived its lease: %+v %v", r, err)
	}
}

// A keeper's choice is ordered behind other commands; what it meant may be gone.
func TestKeepersChoiceSparesALeaseGrantedAgain(t *testing.T) {
	m := newMachine(t)
	root := Identity{Root: true}
	grant := LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: 5, TTL: 60})
	alive := func() bool {
		t.Helper()
		r, err := m.Range(root, &pb.RangeRequest{Key: []byte("a")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, known := m.Leases().Lookup(5)
		if known != (r.Count == 1) {
			t.Fatalf("lease there: %v, its keys: %d", known, r.Count)
		}
		return known
	}
	mustApply(t, m, 1, grant)
	chosen := m.Leases().All()[0].Ref()
	mustApply(t, m, 2, LeaseRevokeCommand(root, &pb.LeaseRevokeRequest{ID: 5}), grant,
		PutCommand(root, &pb.PutRequest{Key: []byte("a"), Lease: 5}), ExpireCommand([]lease.Ref{chosen}))
	mustApply(t, m, 3, CheckpointCommand(map[lease.Ref]int64{chosen: 1}))
	if l, _ := m.Leases().Lookup(5); l.Remaining != 60 {
		t.Errorf("%d s remain after the checkpoint of the first grant, want 60", l.Remaining)
	}
	mustApply(t, m, 4, CheckpointCommand(map[lease.Ref]int64{m.Leases().All()[0].Ref(): 30}))
	if l, _ := m.Leases().Lookup(5); l.Remaining != 30 {
		t.Errorf("%d s remain after a checkpoint, want 30", l.Remaining)
	}
	if !alive() {
		t.Fatal("the expiry of the first grant ended the second")
	}
	mustApply(t, m, 5, ExpireCommand([]lease.Ref{chosen, m.Leases().All()[0].Ref()}))
	if alive() {
		t.Error("the second grant outlived its own expiry")
	}
}

func TestLedgerCommitsAllOrNothing(t *testing.T) {
	m := newMachine(t)
	now := time.Unix(1000, 0)
	commit := func(index uint64, ops ...Op) error {
		_, err := ParseResult(mustApply(t, m, index, LedgerCommand(now, ops))[0])
		return err
	}
	a := Op{Bucket: "b", Key: []byte("a"), Value: []byte("1"), If: Absent}
	if err := commit(1, a); err != nil {
		t.Fatal(err)
	}
	other := Op{Bucket: "b", Key: []byte("other"), Value: []byte("1")}
	if err := commit(2, other, a); !errors.Is(err, ErrConflict) {
		t.Errorf("a second create: %v, want ErrConflict", err)
	}
	if v, err := m.LedgerGet(now, "b", []byte("other")); v != nil || err != nil {
		t.Errorf("half a commit is visible: %q %v", v, err)
	}
	swap := Op{Bucket: "b", Key: []byte("a"), Value: []byte{}, If: Equals, Old: []byte("1"), Expires: now.Add(time.Minute)}
	if err := commit(3, swap); err != nil {
		t.Fatal(err)
	}
	if v, err := m.LedgerGet(now, "b", []byte("a")); v == nil || len(v) != 0 || err != nil {
		t.Errorf("an empty value reads as %q %v", v, err)
	}
	now = now.Add(2 * time.Minute)
	if v, _ := m.LedgerGet(now, "b", []byte("a")); v != nil {
		t.Errorf("an expired item reads as %q", v)
	}
	if err := commit(4, a); err != nil {
		t.Errorf("an expired item is in the way: %v", err)
	}
}

func TestLedgerCollectsWhatHasExpired(t *testing.T) {
	m := newMachine(t)
	now := time.Unix(1000, 0)
	mustApply(t, m, 1, LedgerCommand(now, []Op{
		{Bucket: "b", Key: []byte("short"), Value: []byte("1"), Expires: now.Add(time.Second)},
		{Bucket: "b", Key: []byte("renewed"), Value: []byte("1"), Expires: now.Add(time.Second)},
		{Bucket: "b", Key: []byte("for ever"), Value: []byte("1")},
	}))
	mustApply(t, m, 2, LedgerCommand(now, []Op{
		{Bucket: "b", Key: []byte("renewed"), Value: []byte("2"), Expires: now.Add(time.Hour)},
	}))
	mustApply(t, m, 3, LedgerExpireCommand(now.Add(time.Minute), 10))
	// Read as of the beginning: only what was collected is gone.
	items, err := m.LedgerList(now, "b", nil)
	if err != nil || len(items) != 2 || string(items[0].Key) != "for ever" || string(items[1].Key) != "renewed" {
		t.Errorf("left: %q %v", items, err)
	}
}

func FuzzCommand(f *testing.F) {
	f.Add(put("a", "1"))
	f.Add(FormCommand(7))
	f.Add(LedgerCommand(time.Unix(1, 0), []Op{{Bucket: "b", Key: []byte("k"), Value: []byte("v"), If: Equals, Old: []byte("o")}}))
	f.Add(ExpireCommand([]lease.Ref{{ID: 1, Granted: 2}}))
	f.Fuzz(func(t *testing.T, command []byte) {
		if k, id, body, err := splitCommand(command); err == nil {
			if again := append(appendPrefix(nil, k, id), body...); len(again) > len(command) {
				t.Errorf("%x grew to %x", command, again)
			}
			_, _, _ = decodeOps(body) // must not panic
			_, _ = readUvarints(body, 2)
		}
		_, _ = ParseResult(command)
	})
}
