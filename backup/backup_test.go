// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

// subject is a state machine without a log.
type subject struct {
	t       testing.TB
	store   *kv.Store
	machine *state.Machine
	index   uint64
}

func newSubject(t testing.TB) *subject {
	t.Helper()
	fatal := func(err error) { t.Errorf("the disk failed: %v", err) }
	store, err := kv.Open(kv.Options{Dir: t.TempDir(), Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	leases, err := lease.Load(state.LeaseReader(store), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{t: t, store: store, machine: state.New(state.Config{Store: store, Leases: leases, Fatal: fatal})}
}

func (s *subject) apply(commands ...[]byte) {
	s.t.Helper()
	s.index++
	if s.machine.Apply([]state.Entry{{Index: s.index, Commands: commands}}) == nil {
		s.t.Fatal("not applied")
	}
}

var root = state.Identity{Root: true}

func (s *subject) put(key, value string, lease int64) {
	s.t.Helper()
	s.apply(state.PutCommand(root, &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}))
}

func (s *subject) delete(key, end string) {
	s.t.Helper()
	s.apply(state.DeleteRangeCommand(root, &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}))
}

func (s *subject) compact(rev int64) {
	s.t.Helper()
	s.apply(state.CompactCommand(root, &pb.CompactionRequest{Revision: rev}))
}

func (s *subject) grant(id, ttl int64) {
	s.t.Helper()
	s.apply(state.LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: id, TTL: ttl}))
}

// govern changes users and roles as requests of etcd's Auth service do; what
// is refused changes nothing.
func (s *subject) govern(requests ...proto.Message) {
	s.t.Helper()
	for _, r := range requests {
		s.apply(state.AuthCommand(root, r))
	}
}

// rule changes users and roles at random.
func (s *subject) rule(random *rand.Rand) {
	s.t.Helper()
	pick := func(kind string) string { return fmt.Sprint(kind, random.IntN(10)) }
	user, role := pick("user"), pick("role")
	p := &authpb.Permission{PermType: authpb.Permission_Type(random.IntN(4)), Key: []byte(pick("key")), RangeEnd: []byte([]string{"", "\x00", "z"}[random.IntN(3)])}
	all := []proto.Message{
		&pb.AuthUserAddRequest{Name: user, HashedPassword: "IyM="},
		&pb.AuthUserAddRequest{Name: user, Options: &authpb.UserAddOptions{NoPassword: true}},
		&pb.AuthUserAddRequest{Name: "root", HashedPassword: "IyM="},
		&pb.AuthUserDeleteRequest{Name: user},
		&pb.AuthRoleAddRequest{Name: role},
		&pb.AuthRoleAddRequest{Name: "root"},
		&pb.AuthRoleDeleteRequest{Role: role},
		&pb.AuthUserGrantRoleRequest{User: user, Role: role},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthRoleGrantPermissionRequest{Name: role, Perm: p},
		&pb.AuthRoleGrantPermissionRequest{Name: "root", Perm: p},
		&pb.AuthRoleRevokePermissionRequest{Role: role, Key: p.Key, RangeEnd: p.RangeEnd},
		&pb.AuthEnableRequest{},
		&pb.AuthDisableRequest{},
	}
	s.govern(all[random.IntN(len(all))])
}

// live changes the state at random, a little of everything.
func (s *subject) live(random *rand.Rand, changes int) {
	s.t.Helper()
	for range changes {
		key := fmt.Sprintf("key-%03d", random.IntN(200))
		switch random.IntN(20) {
		case 0, 1, 2:
			s.delete(key, "")
		case 3:
			s.delete(key, key+"5")
		case 4:
			s.grant(random.Int64N(20)+1, random.Int64N(1000)+60)
		case 5:
			if random.IntN(5) == 0 {
				s.compact(s.store.Revision() - random.Int64N(10))
			}
		case 6:
			s.put(key, "", random.Int64N(20)+1)
		case 7:
			s.put(key, string(make([]byte, random.IntN(20_000))), 0)
		case 8, 9:
			s.rule(random)
		default:
			s.put(key, fmt.Sprint(random.Int64()), 0)
		}
	}
}

func (s *subject) hash(rev int64) kv.Hash {
	s.t.Helper()
	h, err := s.store.HashKV(rev)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

func plenty() (int64, error) { return 1 << 40, nil }

func onward() error { return nil }

// save writes a snapshot with its checksum and returns the file's name.
func (s *subject) save() string {
	s.t.Helper()
	view, err := s.machine.View()
	if err != nil {
		s.t.Fatal(err)
	}
	defer view.Close()
	saved, err := Save(Source{View: view, Term: 3, Dir: s.t.TempDir(), Free: plenty, Pause: onward})
	if err != nil {
		s.t.Fatal(err)
	}
	defer saved.Close()
	return writeSnapshot(s.t, saved)
}

func writeSnapshot(t testing.TB, saved *Saved) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), io.NewSectionReader(saved, 0, saved.Size())); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(h.Sum(nil)); err != nil {
		t.Fatal(err)
	}
	return path
}

// restored returns the state that a snapshot gives.
func restored(t testing.TB, path string, bump int64) *subject {
	t.Helper()
	snapshot, err := file.Open(path, !file.HasHash(sizeOf(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	found, err := Check(snapshot.Reader, bump)
	if err != nil {
		t.Fatal(err)
	}
	s := newSubject(t)
	if _, err := Restore(snapshot.Reader, found, s.store, s.machine, bump); err != nil {
		t.Fatal(err)
	}
	s.index = 1
	return s
}

func sizeOf(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestASnapshotGivesTheSameState(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := newSubject(t)
	for range 10 {
		s.live(random, 300)
		alike(t, s, restored(t, s.save(), 0))
	}
}

// alike compares all that clients can see.
func alike(t *testing.T, a, b *subject) {
	t.Helper()
	for rev := max(a.store.Compacted(), 1); rev <= a.store.Revision(); rev++ {
		if x, y := a.hash(rev), b.hash(rev); x != y {
			t.Fatalf("at revision %d: %+v, restored %+v", rev, x, y)
		}
	}
	if x, y := a.machine.Rules().Content(), b.machine.Rules().Content(); fmt.Sprint(x) != fmt.Sprint(y) {
		t.Fatalf("users and roles\n%v\nrestored\n%v", x, y)
	}
	x, y := a.machine.Leases().All(), b.machine.Leases().All()
	if len(x) != len(y) {
		t.Fatalf("%d leases, restored %d", len(x), len(y))
	}
	for i := range x {
		x[i].Granted, y[i].Granted = 0, 0
		if x[i] != y[i] {
			t.Fatalf("lease %+v, restored %+v", x[i], y[i])
		}
		keys, err := a.machine.LeaseKeys(state.Identity{Root: true}, x[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.machine.LeaseKeys(state.Identity{Root: true}, x[i].ID)
		if err != nil || fmt.Sprint(keys) != fmt.Sprint(again) {
			t.Fatalf("lease %d holds %q, restored %q, %v", x[i].ID, keys, again, err)
		}
	}
}
