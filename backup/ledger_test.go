// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/state"
)

// remember puts items into the ledger: many small ones, one of many pages, one
// that expires.
func (s *subject) remember() {
	s.t.Helper()
	now := time.Now()
	for i := range 500 {
		s.apply(state.LedgerCommand(now, []state.Op{{Bucket: "pki/some", Key: fmt.Appendf(nil, "%d", i), Value: []byte("value")}}))
	}
	s.apply(state.LedgerCommand(now, []state.Op{
		{Bucket: "pki/large", Key: []byte{0, 1, 0}, Value: make([]byte, 100_000)},
		{Bucket: "pki/ends", Key: []byte("a"), Value: []byte{}, Expires: now.Add(time.Hour)},
		{Bucket: "secret", Key: []byte("token"), Value: []byte("hash")},
	}))
}

func list(t *testing.T, s *subject, bucket string) []state.Item {
	t.Helper()
	items, err := s.machine.LedgerList(time.Now(), bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func TestTheLedgerComesBackAsFarAsItIsKept(t *testing.T) {
	s := newSubject(t)
	s.put("a", "1", 0)
	s.remember()
	path := s.save()
	again := restored(t, path, 0)
	snapshot, err := file.Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	keep := func(i state.LedgerItem) bool { return i.Bucket != "secret" }
	if err := RestoreLedger(snapshot.Reader, again.machine, keep); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"pki/some", "pki/large", "pki/ends"} {
		if before, after := list(t, s, bucket), list(t, again, bucket); len(before) == 0 || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%s: %d items, restored %d others", bucket, len(before), len(after))
		}
	}
	if kept := list(t, again, "secret"); len(kept) != 0 {
		t.Errorf("what is not to be kept is there: %v", kept)
	}
	again.apply(state.LedgerExpireCommand(time.Now().Add(2*time.Hour), 10))
	if left := list(t, again, "pki/ends"); len(left) != 0 {
		t.Errorf("an item does not expire any more: %v", left)
	}
	if err := RestoreLedger(snapshot.Reader, again.machine, keep); err == nil {
		t.Error("a state that has been used was given a ledger")
	}
}

func TestASnapshotOfEtcdHasNoLedger(t *testing.T) {
	s := newSubject(t)
	s.remember()
	for _, path := range []string{unpacked(t, "etcd-3.6.16.snap.gz")} {
		snapshot, err := file.Open(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer snapshot.Close()
		if err := WalkLedger(snapshot.Reader, func(i state.LedgerItem) error { return fmt.Errorf("found %v", i) }); err != nil {
			t.Error(err)
		}
	}
}

func TestADamagedLedgerIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	for _, item := range [][2]string{{"no bucket", "\x01\x00v"}, {"\x00no bucket's name", "\x01\x00v"}, {"b\x00k", ""}, {"b\x00k", "\x02\x00v"}, {"b\x00k", "\x01\x01v"}} {
		f, err := os.Create(t.TempDir() + "/damaged.db")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := file.NewWriter(f)
		for _, name := range []string{file.Key, file.Meta} {
			if err := w.Bucket(name); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Bucket(file.Ledger)
		_ = w.Put([]byte(item[0]), []byte(item[1]))
		size, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		r, err := file.NewReader(f, size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(r, 0); !errors.Is(err, file.ErrDamaged) {
			t.Errorf("%q: %v, want ErrDamaged", item, err)
		}
	}
}
