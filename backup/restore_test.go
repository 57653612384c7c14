// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

// made returns a file with these buckets.
func made(t testing.TB, buckets map[string][][2]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := file.NewWriter(f)
	for name, pairs := range buckets {
		_ = w.Bucket(name) // Close tells
		for _, p := range pairs {
			_ = w.Put([]byte(p[0]), []byte(p[1]))
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func at(main int64) string { return string(file.AppendRevision(nil, main, 0, false)) }

func TestWhatIsNotEtcdsIsRefused(t *testing.T) {
	good := string(kv.NewRecord([]byte("k"), nil, 2, 2, 1, 0))
	for name, c := range map[string]struct {
		buckets map[string][][2]string
		err     error
	}{
		"good":                     {map[string][][2]string{file.Meta: nil, file.Key: {{at(2), good}}}, nil},
		"another program's bbolt":  {map[string][][2]string{"conf": {{"CurrentTerm", "x"}}}, file.ErrForeign},
		"no meta":                  {map[string][][2]string{file.Key: nil}, file.ErrForeign},
		"a newer etcd":             {map[string][][2]string{file.Key: nil, file.Meta: {{file.StorageVersion, "3.8.0"}}}, ErrNewer},
		"a version that is none":   {map[string][][2]string{file.Key: nil, file.Meta: {{file.StorageVersion, "new"}}}, file.ErrDamaged},
		"a revision that is none":  {map[string][][2]string{file.Meta: nil, file.Key: {{"2", good}}}, file.ErrDamaged},
		"a revision twice":         {map[string][][2]string{file.Meta: nil, file.Key: {{at(2), good}, {at(2) + "t", good}}}, file.ErrDamaged},
		"a record that is none":    {map[string][][2]string{file.Meta: nil, file.Key: {{at(2), "\xff\xff"}}}, file.ErrDamaged},
		"another revision inside":  {map[string][][2]string{file.Meta: nil, file.Key: {{at(3), good}}}, file.ErrDamaged},
		"a lease that is none":     {map[string][][2]string{file.Meta: nil, file.Key: nil, file.Lease: {{"12345678", "x"}}}, file.ErrDamaged},
		"compacted nowhere":        {map[string][][2]string{file.Key: nil, file.Meta: {{file.FinishedCompaction, "x"}}}, file.ErrDamaged},
		"compacted without an end": {map[string][][2]string{file.Key: nil, file.Meta: {{file.FinishedCompaction, at(1<<63 - 1)}}}, file.ErrDamaged},
	} {
		if _, err := tried(t, made(t, c.buckets), 0); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, not %v", name, err, c.err)
		}
	}
}

// A key that etcd has let one revision delete and put is what it was in the end.
func TestAKeyTwiceInOneRevision(t *testing.T) {
	put := string(kv.NewRecord([]byte("k"), []byte("v"), 2, 2, 1, 0))
	again := string(kv.NewRecord([]byte("k"), []byte("w"), 3, 3, 1, 0))
	gone := string(kv.NewRecord([]byte("k"), nil, 0, 0, 0, 0))
	s := restored(t, made(t, map[string][][2]string{file.Meta: nil, file.Key: {
		{at(2), put}, {string(file.AppendRevision(nil, 3, 0, true)), gone}, {string(file.AppendRevision(nil, 3, 1, false)), again},
	}}), 0)
	r, err := s.store.Range(kv.Range{Key: []byte("k")}, kv.ReadOptions{})
	if err != nil || len(r.Records) != 1 || string(r.Records[0].Value()) != "w" {
		t.Errorf("%v %v", r, err)
	}
	if events, _, err := s.store.Events(kv.Range{Key: []byte("a"), End: []byte{0}}, 2, 3, 1<<20); err != nil || len(events) != 2 {
		t.Errorf("%v %v", events, err)
	}
	s.put("k", "x", 0)
}

// More keys than are attached in one commit are attached all the same.
func TestALeaseKeepsAllOfItsKeys(t *testing.T) {
	s := newSubject(t)
	s.grant(7, 600)
	want := 0
	for range 12 {
		var commands [][]byte
		for range 1000 {
			key := fmt.Appendf(nil, "%0100d", want)
			commands, want = append(commands, state.PutCommand(root, &pb.PutRequest{Key: key, Lease: 7})), want+1
		}
		s.apply(commands...)
	}
	keys, err := restored(t, s.save(), 0).machine.LeaseKeys(root, 7)
	if err != nil || len(keys) != want || string(keys[want-1]) != fmt.Sprintf("%0100d", want-1) {
		t.Errorf("%d keys of %d: %v", len(keys), want, err)
	}
}

// Damage that no checksum tells of is an error or harmless, never a crash.
func TestDamageWithoutAChecksum(t *testing.T) {
	s := newSubject(t)
	random := rand.New(rand.NewPCG(4, 4))
	s.live(random, 300)
	whole, err := os.ReadFile(s.save())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "damaged.db")
	var taken [][]byte
	for range 2000 {
		damaged := append([]byte(nil), whole...)
		for range 1 + random.IntN(3) {
			damaged[random.IntN(len(damaged))] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := tried(t, path, 0)
		switch {
		case err == nil && len(taken) < 50:
			taken = append(taken, damaged)
		case err != nil && !isRefusal(err):
			t.Fatal(err)
		}
	}
	for _, damaged := range taken { // what passed the check can be restored
		if err := os.WriteFile(path, damaged[:len(damaged)-sha256.Size], 0o600); err != nil {
			t.Fatal(err)
		}
		restored(t, path, 0)
	}
}

func FuzzCheck(f *testing.F) {
	key, lease := encodeLease(lease.Lease{ID: 7, TTL: 60, Remaining: 30})
	path := made(f, map[string][][2]string{
		file.Meta:  {{file.FinishedCompaction, at(2)}, {file.StorageVersion, "3.7.0"}},
		file.Lease: {{string(key), string(lease)}},
		file.Auth:  {{file.AuthEnabled, "\x01"}, {file.AuthRevision, "\x00\x00\x00\x00\x00\x00\x00\x09"}},
		file.AuthUsers: {{"root", string(encode(&authpb.User{
			Name: []byte("root"), Password: []byte("##"), Roles: []string{"root"}, Options: &authpb.UserAddOptions{},
		}))}},
		file.AuthRoles: {{"root", string(encode(&authpb.Role{Name: []byte("root")}))}},
		file.Key: {
			{at(2), string(kv.NewRecord([]byte("k"), []byte("v"), 2, 2, 1, 7))},
			{string(file.AppendRevision(nil, 3, 0, true)), string(kv.NewRecord([]byte("k"), nil, 0, 0, 0, 0))},
		},
	})
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := file.NewReader(bytes.NewReader(raw), int64(len(raw)))
		if err == nil {
			_, err = Check(r, 0)
		}
		if err != nil && !isRefusal(err) {
			t.Errorf("%v", err)
		}
	})
}

// A lease that is taken is one that can be granted, and is written as it was.
func FuzzLease(f *testing.F) {
	for _, l := range []lease.Lease{{ID: 7, TTL: 60, Remaining: 30}, {ID: -1, TTL: lease.MaxTTL, Remaining: lease.MaxTTL}} {
		key, value := encodeLease(l)
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, err := decodeLease(key, value)
		if err != nil {
			if !errors.Is(err, file.ErrDamaged) {
				t.Error(err)
			}
			return
		}
		if l.ID == 0 || l.TTL < 1 || l.TTL > lease.MaxTTL || l.Remaining < 1 || l.Remaining > l.TTL {
			t.Errorf("%+v", l)
		}
		if again, err := decodeLease(encodeLease(l)); err != nil || again != l {
			t.Errorf("%+v became %+v: %v", l, again, err)
		}
	})
}

func isRefusal(err error) bool {
	for _, known := range []error{file.ErrDamaged, file.ErrForeign, ErrNewer} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
