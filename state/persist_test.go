// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cleatd/cleat/kv"
)

// failing is a machine on a disk that fails all writes once sick is set, and
// what it tells, which may come from a goroutine of the store.
func failing(t *testing.T) (m *Machine, sick *atomic.Bool, told chan error) {
	t.Helper()
	sick, told = new(atomic.Bool), make(chan error, 8)
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if sick.Load() && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	return openMachine(t, fs, func(err error) { told <- err }), sick, told
}

// The label follows from Persist's answer, and the log is cut behind the label.
func TestAFlushThatFailsPersistsNothing(t *testing.T) {
	m, sick, told := failing(t)
	mustApply(t, m, 1, put("a", "1"))
	sick.Store(true)
	if err := m.Persist(1); !errors.Is(err, kv.ErrFailed) {
		t.Errorf("persist: %v, want ErrFailed", err)
	}
	if err := <-told; err == nil {
		t.Error("told no cause")
	}
}

func TestACommitThatFailsIsAnsweredToNobody(t *testing.T) {
	m, sick, told := failing(t)
	mustApply(t, m, 1, put("a", "1"))
	sick.Store(true)
	_ = m.Persist(1) // the store refuses from now on
	<-told
	if results := m.Apply([]Entry{{Index: 2, Commands: [][]byte{put("a", "2")}}}); results != nil {
		t.Errorf("answered %q", results)
	}
	if err := <-told; !errors.Is(err, kv.ErrFailed) {
		t.Errorf("told %v, want ErrFailed", err)
	}
}

// An entry that could not be applied must never count as applied, or the log
// would not bring it again.
func TestAMachineThatHasFailedPersistsNothing(t *testing.T) {
	fs := vfs.NewCrashableMem()
	m := openMachine(t, fs, func(error) {})
	mustApply(t, m, 1, put("a", "1"))
	if results := m.Apply([]Entry{{Index: 2, Commands: [][]byte{{commandVersion, 200, 0, 0}}}}); results != nil {
		t.Fatalf("answered %q", results)
	}
	if err := m.Persist(3); err == nil {
		t.Error("persisted what was not applied")
	}
	crashed := openMachine(t, fs.CrashClone(vfs.CrashCloneCfg{}), func(error) {})
	if left := crashed.AppliedIndex(); m.AppliedIndex() != 1 || left > 1 {
		t.Errorf("applied index %d, %d after a crash: want at most 1", m.AppliedIndex(), left)
	}
}

func TestEntriesAppliedTogetherCountAsTheNewest(t *testing.T) {
	m := newMachine(t)
	results := m.Apply([]Entry{
		{Index: 3, Commands: [][]byte{put("a", "1")}},
		{Index: 4, Commands: [][]byte{put("a", "2"), put("a", "3")}},
		{Index: 7, Commands: [][]byte{put("a", "4")}},
	})
	if len(results) != 4 || m.AppliedIndex() != 7 {
		t.Errorf("%d results, applied index %d: want 4 and 7", len(results), m.AppliedIndex())
	}
}

// A label may be asked for at an index that the state has passed.
func TestTheAppliedIndexNeverGoesBack(t *testing.T) {
	m := newMachine(t)
	mustApply(t, m, 9, put("a", "1"))
	if err := m.Persist(5); err != nil {
		t.Fatal(err)
	}
	if got := m.AppliedIndex(); got != 9 {
		t.Errorf("applied index %d, want 9", got)
	}
}

func TestALedgerItemOfANewerFormatIsRefused(t *testing.T) {
	m := newMachine(t)
	now := time.Unix(1000, 0)
	mustApply(t, m, 1, LedgerCommand(now, []Op{{Bucket: "b", Key: []byte("k"), Value: []byte("v")}}))
	item, err := m.Store().Get(tableLedger, ledgerKey("b", []byte("k")))
	if err != nil || len(item) == 0 {
		t.Fatalf("item %x, %v", item, err)
	}
	item[0]++
	b := m.Store().NewBatch()
	defer b.Close()
	b.Set(tableLedger, ledgerKey("b", []byte("k")), item)
	if err := b.Commit(2); err != nil {
		t.Fatal(err)
	}
	if v, err := m.LedgerGet(now, "b", []byte("k")); err == nil {
		t.Errorf("was read as %q", v)
	}
}
