// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/backup/file"
)

// withAuth returns a file with these users, roles and settings.
func withAuth(t testing.TB, users, roles, settings [][2]string) string {
	t.Helper()
	return made(t, map[string][][2]string{
		file.Key: nil, file.Meta: nil, file.Auth: settings, file.AuthUsers: users, file.AuthRoles: roles,
	})
}

func user(name string, roles ...string) [2]string {
	return [2]string{name, string(encode(&authpb.User{Name: []byte(name), Password: []byte("##"), Roles: roles, Options: &authpb.UserAddOptions{}}))}
}

func role(name string, permissions ...*authpb.Permission) [2]string {
	return [2]string{name, string(encode(&authpb.Role{Name: []byte(name), KeyPermission: permissions}))}
}

func TestUsersAndRolesThatAreNoneAreRefused(t *testing.T) {
	ofAnother := user("bob")
	ofAnother[0] = "alice"
	roleOfAnother := role("reader")
	roleOfAnother[0] = "writer"
	foreign := user("x\xff")
	for name, c := range map[string]struct {
		users, roles, settings [][2]string
		says                   string // empty: it is taken
	}{
		"nothing":                           {},
		"sound ones":                        {users: [][2]string{user("alice", "reader")}, roles: [][2]string{role("reader")}},
		"a user of no format":               {users: [][2]string{{"alice", "x"}}, says: `user "alice"`},
		"a user cut":                        {users: [][2]string{{"alice", user("alice", "reader")[1][:9]}}, says: `user "alice"`},
		"an empty user":                     {users: [][2]string{{"alice", ""}}, says: `names ""`},
		"a user in another's place":         {users: [][2]string{ofAnother}, says: `names "bob"`},
		"a user without a name":             {users: [][2]string{user("")}, says: "empty"},
		"a name that cannot be told":        {users: [][2]string{foreign}, says: "UTF-8"},
		"a role's name that cannot be told": {users: [][2]string{{"alice", "\x0a\x05alice\x1a\x01\xff"}}, says: "UTF-8"},
		"a user with a nameless role":       {users: [][2]string{user("alice", "")}, says: "without a name"},
		"a role of no format":               {roles: [][2]string{{"reader", "\x0a"}}, says: `role "reader"`},
		"a role in another's place":         {roles: [][2]string{roleOfAnother}, says: `names "reader"`},
		"a role without a name":             {roles: [][2]string{role("")}, says: "empty"},
		"neither on nor off":                {settings: [][2]string{{file.AuthEnabled, "\x02"}}, says: file.AuthEnabled},
		"a short revision":                  {settings: [][2]string{{file.AuthRevision, "\x01"}}, says: file.AuthRevision},
		"a revision without an end":         {settings: [][2]string{{file.AuthRevision, strings.Repeat("\xff", 8)}}, says: file.AuthRevision},
	} {
		_, err := tried(t, withAuth(t, c.users, c.roles, c.settings), 0)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, file.ErrDamaged) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What older etcds let pass is taken, and can be changed afterwards.
func TestUsersAndRolesOfOlderEtcds(t *testing.T) {
	key := func(kind authpb.Permission_Type, key, end string) *authpb.Permission {
		return &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)}
	}
	const read, write, both = authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE
	old := user("alice", "writer", "reader", "reader")
	old[1] = strings.TrimSuffix(old[1], "\x22\x00") // options came with 3.4
	s := restored(t, withAuth(t, [][2]string{old, user("root", "root")}, [][2]string{
		role("reader", key(read, "z", "a"), key(both, "k", "l"), key(both, "", "")),
		role("writer", key(both, "k", "l"), key(read, "k", ""), key(write, "k", "l"), key(7, "n", "")),
	}, [][2]string{{file.AuthEnabled, "\x01"}}), 0)
	rules := s.machine.Rules()
	if !rules.Enabled || rules.Revision != 1 {
		t.Errorf("enabled: %v at %d", rules.Enabled, rules.Revision)
	}
	if u, known := rules.User("alice"); !known || fmt.Sprint(u.Roles) != "[reader writer]" || u.NoPassword || string(u.Hash) != "##" {
		t.Errorf("%+v %v", u, known)
	}
	alice := auth.Caller{Name: "alice", Revision: 1}
	for _, denied := range []string{"z", "a", "b", "n"} {
		if err := rules.Read(alice, []byte(denied), nil); !errors.Is(err, auth.ErrDenied) {
			t.Errorf("read %s: %v", denied, err)
		}
	}
	if err := rules.Write(alice, []byte("k"), []byte("l")); err != nil {
		t.Error(err)
	}
	s.govern(&pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "reader"}, &pb.AuthRoleGrantPermissionRequest{Name: "writer", Perm: key(read, "k", "l")})
	alice.Revision = 3
	if err := s.machine.Rules().Write(alice, []byte("k"), []byte("l")); !errors.Is(err, auth.ErrDenied) {
		t.Errorf("a permission that etcd had twice is there still: %v", err)
	}
	alike(t, s, restored(t, s.save(), 0))
}

// A file that is damaged where its users are gives all of them or an error.
func TestDamagedUsersAreNotHalfTaken(t *testing.T) {
	s := newSubject(t)
	random := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		s.rule(random)
	}
	path := s.save()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tried(t, path, 0)
	if err != nil || len(want.Auth.Users) < 3 || len(want.Auth.Roles) < 3 {
		t.Fatalf("%+v, %v", want, err)
	}
	name := []byte(want.Auth.Users[1].Name)
	places := 0
	for from := 0; ; places++ {
		at := bytes.Index(whole[from:], name)
		if at < 0 {
			break
		}
		from += at + 1
		damaged := bytes.Clone(whole)
		damaged[from-1] = 0xff
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tried(t, path, 0); !errors.Is(err, file.ErrDamaged) {
			t.Errorf("at %d: %v", from-1, err)
		}
	}
	if places != 2 {
		t.Errorf("the name is in %d places, not as key and in the record", places)
	}
}

func TestLargeRolesNeedTheirRoom(t *testing.T) {
	s := newSubject(t)
	for i := range 100 {
		name, key := fmt.Sprint("role", i), bytes.Repeat([]byte("k"), 40_000)
		s.govern(&pb.AuthRoleAddRequest{Name: name}, &pb.AuthRoleGrantPermissionRequest{Name: name, Perm: &authpb.Permission{Key: key}})
	}
	view, err := s.machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	free := int64(4 << 20)
	source := Source{View: view, Dir: t.TempDir(), Free: func() (int64, error) { return free, nil }, Pause: onward}
	if _, err := Save(source); !errors.Is(err, ErrNoRoom) {
		t.Errorf("%v", err)
	}
	free = 6 << 20
	saved, err := Save(source)
	if err != nil {
		t.Fatal(err)
	}
	if saved.Size() > free || saved.Size() < 4_000_000 {
		t.Errorf("%d bytes", saved.Size())
	}
	if err := saved.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStateThatWasUsedTakesNoUsers(t *testing.T) {
	s := newSubject(t)
	s.govern(&pb.AuthRoleAddRequest{Name: "reader"})
	if err := s.machine.LoadRules(auth.Content{Revision: 7}); err == nil {
		t.Error("taken")
	}
	if _, known := s.machine.Rules().Role("reader"); !known {
		t.Error("gone")
	}
}

// What is taken is what is written again, and taken again.
func FuzzUsersAndRoles(f *testing.F) {
	f.Add("alice", user("alice", "reader", "writer")[1])
	f.Add("reader", role("reader", &authpb.Permission{PermType: 2, Key: []byte("a"), RangeEnd: []byte("b")})[1])
	f.Fuzz(func(t *testing.T, name, raw string) {
		var c auth.Content
		if u, err := decodeUser([]byte(name), []byte(raw)); err == nil {
			c.Users = append(c.Users, u)
		}
		if r, err := decodeRole([]byte(name), []byte(raw)); err == nil {
			c.Roles = append(c.Roles, r)
		}
		buckets := authBuckets(c)
		var again auth.Content
		for name, raw := range buckets[file.AuthUsers] {
			u, err := decodeUser([]byte(name), raw)
			if err != nil {
				t.Fatal(err)
			}
			again.Users = append(again.Users, u)
		}
		for name, raw := range buckets[file.AuthRoles] {
			r, err := decodeRole([]byte(name), raw)
			if err != nil {
				t.Fatal(err)
			}
			again.Roles = append(again.Roles, r)
		}
		if fmt.Sprint(again) != fmt.Sprint(c) {
			t.Errorf("%v became %v", c, again)
		}
	})
}
