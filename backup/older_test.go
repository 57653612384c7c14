// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
)

// unpacked returns a snapshot of testdata, whose README says how it was made.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	from, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What older etcds have saved is all there: history, leases with their keys,
// users who can log in, roles; and it can be saved again.
func TestSnapshotsOfOlderEtcds(t *testing.T) {
	for version, hash := range map[string]uint32{"3.4.23": 829323638, "3.5.35": 2034760043, "3.6.16": 3670773979} {
		t.Run(version, func(t *testing.T) {
			s := restored(t, unpacked(t, "etcd-"+version+".snap.gz"), 0)
			if got, want := s.hash(0), (kv.Hash{Hash: hash, Revision: 16, HashRevision: 16, CompactRevision: 7}); got != want {
				t.Errorf("%+v, etcd has %+v", got, want)
			}
			r, err := s.store.Range(kv.Range{Key: []byte{0}, End: []byte{0}}, kv.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var pairs []string
			for _, record := range r.Records {
				pairs = append(pairs, fmt.Sprintf("%s=%.7s", record.Key(), record.Value()))
			}
			if got, want := strings.Join(pairs, " "), "a after=auth huge=vvvvvvv k0=value-8 k1=value-9 k2=value-6 k3=value-7 leased=x no longer=y"; got != want {
				t.Errorf("keys %s, not %s", got, want)
			}
			oldLeases(t, s)
			oldRules(t, s.machine.Rules())
			s.put("more", "x", 0)
			alike(t, s, restored(t, s.save(), 0))
		})
	}
}

func oldLeases(t *testing.T, s *subject) {
	t.Helper()
	held := map[int64]string{} // by TTL
	for _, l := range s.machine.Leases().All() {
		keys, err := s.machine.LeaseKeys(root, l.ID)
		if err != nil {
			t.Fatal(err)
		}
		held[l.TTL] = fmt.Sprintf("%q, %d s left", keys, l.Remaining)
	}
	if got, want := fmt.Sprint(held), `map[8000:[], 8000 s left 9000:["leased"], 9000 s left]`; got != want {
		t.Errorf("leases %s, not %s", got, want)
	}
}

func oldRules(t *testing.T, rules *auth.Rules) {
	t.Helper()
	if c := rules.Content(); !c.Enabled || len(c.Users) != 3 || len(c.Roles) != 3 {
		t.Errorf("%+v", c)
	}
	for _, name := range []string{"root", "alice"} {
		if u, _ := rules.User(name); bcrypt.CompareHashAndPassword(u.Hash, []byte(name)) != nil {
			t.Errorf("%s cannot log in: %+v", name, u)
		}
	}
	if u, known := rules.User("host"); !known || !u.NoPassword {
		t.Errorf("%+v %v", u, known)
	}
	alice := auth.Caller{Name: "alice", Revision: rules.Revision}
	for key, allowed := range map[string][2]bool{"a": {true, true}, "b": {false, false}, "p/x": {true, true}, "s": {true, false}} {
		read, write := rules.Read(alice, []byte(key), nil), rules.Write(alice, []byte(key), nil)
		for i, err := range []error{read, write} {
			if errors.Is(err, auth.ErrDenied) == allowed[i] {
				t.Errorf("key %s, read and write: %v, %v, want %v", key, read, write, allowed)
			}
		}
	}
}
