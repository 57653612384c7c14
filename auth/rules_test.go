// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
)

// disk is where records go, by key.
type disk map[string]string

func (d disk) Set(key, value []byte) { d[string(key)] = string(value) }
func (d disk) Delete(key []byte)     { delete(d, string(key)) }
func (d disk) Scan(prefix []byte, fn func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if strings.HasPrefix(key, string(prefix)) {
			if err := fn([]byte(key), []byte(d[key])); err != nil {
				return err
			}
		}
	}
	return nil
}

// cluster takes changes one after the other, and sees that what is on disk is
// what stands in memory.
type cluster struct {
	*testing.T
	disk disk
	*Rules
}

// text is all that rules say.
func (r *Rules) text() string { return fmt.Sprint(r.Enabled, r.Revision, r.users, r.roles) }

func newCluster(t *testing.T) *cluster { return &cluster{t, disk{}, NewRules()} }

// do takes over a change, or returns its refusal, which must have changed nothing.
func (c *cluster) do(changed *Rules, err error) error {
	c.Helper()
	if err == nil {
		c.Rules = changed
	}
	read, failed := Load(c.disk)
	if failed != nil {
		c.Fatal(failed)
	}
	if read.text() != c.text() {
		c.Fatalf("on disk: %s\nin memory: %s", read.text(), c.text())
	}
	moved := disk{}
	c.Content().Write(moved)
	if read, failed = Load(moved); failed != nil || read.text() != c.text() {
		c.Fatalf("taken elsewhere: %v, %v\nhere: %s", read, failed, c.text())
	}
	return err
}

func (c *cluster) must(changed *Rules, err error) {
	c.Helper()
	if err := c.do(changed, err); err != nil {
		c.Fatal(err)
	}
}

// staffed has root, and alice as a writer of a to before b.
func staffed(t *testing.T) *cluster {
	c := newCluster(t)
	c.must(c.AddUser(c.disk, User{Name: "root", Hash: []byte("#")}))
	c.must(c.GrantRole(c.disk, "root", "root"))
	c.must(c.AddUser(c.disk, User{Name: "alice", Hash: []byte("#")}))
	c.must(c.AddRole(c.disk, "writer"))
	c.must(c.GrantPermission(c.disk, "writer", Permission{[]byte("a"), []byte("b"), authpb.Permission_READWRITE}))
	c.must(c.GrantRole(c.disk, "alice", "writer"))
	c.must(c.Enable(c.disk))
	return c
}

func (c *cluster) as(name string) Caller { return Caller{Name: name, Revision: c.Revision} }

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	c := staffed(t)
	p := func(key, end string) Permission {
		return Permission{[]byte(key), []byte(end), authpb.Permission_READ}
	}
	refused := func(want error) func(*Rules, error) {
		return func(r *Rules, err error) {
			t.Helper()
			before := c.Revision
			if err := c.do(r, err); !errors.Is(err, want) || c.Revision != before {
				t.Errorf("%v at revision %d, want %v at %d", err, c.Revision, want, before)
			}
		}
	}
	refused(ErrUserEmpty)(c.AddUser(c.disk, User{}))
	refused(ErrUserExists)(c.AddUser(c.disk, User{Name: "alice"}))
	refused(ErrManagement)(c.DeleteUser(c.disk, "root"))
	refused(ErrUserNotFound)(c.DeleteUser(c.disk, "nobody"))
	refused(ErrUserNotFound)(c.SetPassword(c.disk, "nobody", nil))
	refused(ErrUserNotFound)(c.GrantRole(c.disk, "nobody", "writer"))
	refused(ErrRoleNotFound)(c.GrantRole(c.disk, "alice", "none"))
	refused(ErrManagement)(c.RevokeRole(c.disk, "root", "root"))
	refused(ErrUserNotFound)(c.RevokeRole(c.disk, "nobody", "root"))
	refused(ErrRoleNotGranted)(c.RevokeRole(c.disk, "alice", "root"))
	refused(ErrRoleEmpty)(c.AddRole(c.disk, ""))
	refused(ErrRoleExists)(c.AddRole(c.disk, "writer"))
	refused(ErrManagement)(c.DeleteRole(c.disk, "root"))
	refused(ErrRoleNotFound)(c.DeleteRole(c.disk, "none"))
	refused(ErrManagement)(c.GrantPermission(c.disk, "writer", p("", "")))
	refused(ErrManagement)(c.GrantPermission(c.disk, "writer", p("b", "a")))
	refused(ErrRoleNotFound)(c.GrantPermission(c.disk, "none", p("a", "")))
	refused(ErrRoleNotFound)(c.RevokePermission(c.disk, "none", []byte("a"), nil))
	refused(ErrPermissionNotGranted)(c.RevokePermission(c.disk, "writer", []byte("a"), nil))
	same, err := c.GrantRole(c.disk, "alice", "writer")
	if refused(nil)(same, err); same != c.Rules {
		t.Error("a role that she has already made other rules")
	}
}

func TestRulesCountOnceTheyAreEnabled(t *testing.T) {
	c := newCluster(t)
	if err := c.do(c.Enable(c.disk)); !errors.Is(err, ErrRootUserNotExist) {
		t.Errorf("without root: %v", err)
	}
	c.must(c.AddUser(c.disk, User{Name: "root"}))
	if err := c.do(c.Enable(c.disk)); !errors.Is(err, ErrRootRoleNotExist) {
		t.Errorf("without its role: %v", err)
	}
	c.must(c.GrantRole(c.disk, "root", "root"))
	if err := errors.Join(c.Write(Caller{}, []byte("a"), nil), c.Admin(Caller{}), c.Named(Caller{})); err != nil {
		t.Errorf("before: %v", err)
	}
	before := c.Revision
	c.must(c.Enable(c.disk))
	if c.Revision != before {
		t.Errorf("enabling moved the revision from %d to %d", before, c.Revision)
	}
	for what, err := range map[string]error{
		"write": c.Write(Caller{}, []byte("a"), nil), "admin": c.Admin(Caller{}), "named": c.Named(Caller{}),
	} {
		if !errors.Is(err, ErrUserEmpty) {
			t.Errorf("%s by nobody: %v", what, err)
		}
	}
	c.must(c.Disable(c.disk), nil)
	if c.Enabled || c.Revision != before+1 {
		t.Errorf("after: %t at %d", c.Enabled, c.Revision)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	c := staffed(t)
	old := Caller{Name: "alice", Revision: c.Revision - 1}
	for name, check := range map[string]struct{ got, want error }{
		"alice writes what is hers":     {c.Write(c.as("alice"), []byte("ab"), nil), nil},
		"alice reads a range of hers":   {c.Read(c.as("alice"), []byte("a"), []byte("az")), nil},
		"alice reads all of hers":       {c.Read(c.as("alice"), []byte("a"), []byte("b")), nil},
		"alice reads one too many":      {c.Read(c.as("alice"), []byte("a"), []byte("b\x00")), ErrDenied},
		"alice reads without an end":    {c.Read(c.as("alice"), []byte("a"), []byte{0}), ErrDenied},
		"alice writes another's":        {c.Write(c.as("alice"), []byte("b"), nil), ErrDenied},
		"alice with an old right":       {c.Write(old, []byte("ab"), nil), ErrOldRevision},
		"alice administers":             {c.Admin(c.as("alice")), ErrDenied},
		"root writes":                   {c.Write(c.as("root"), []byte{0}, []byte{0}), nil},
		"root administers":              {c.Admin(c.as("root")), nil},
		"root administers with old":     {c.Admin(Caller{Name: "root", Revision: 1}), nil},
		"a stranger reads":              {c.Read(c.as("mallory"), []byte("a"), nil), ErrDenied},
		"a stranger administers":        {c.Admin(c.as("mallory")), ErrUserNotFound},
		"a stranger is named":           {c.Named(c.as("mallory")), nil},
		"the administrator writes":      {c.Write(Caller{Root: true}, []byte("b"), nil), nil},
		"the administrator administers": {c.Admin(Caller{Root: true}), nil},
		"the administrator is named":    {c.Named(Caller{Root: true}), nil},
	} {
		if !errors.Is(check.got, check.want) {
			t.Errorf("%s: %v, want %v", name, check.got, check.want)
		}
	}
	c.must(c.RevokePermission(c.disk, "writer", []byte("a"), []byte("b")))
	if err := c.Write(c.as("alice"), []byte("ab"), nil); !errors.Is(err, ErrDenied) {
		t.Errorf("after it was taken back: %v", err)
	}
}

// etcd keeps both where another permission with the same key stands first.
func TestAPermissionIsReplacedWhereverItStands(t *testing.T) {
	c := staffed(t)
	for _, p := range []Permission{
		{[]byte("a"), []byte("c"), authpb.Permission_READWRITE}, {[]byte("a"), nil, authpb.Permission_WRITE}, {[]byte("a"), []byte("c"), authpb.Permission_READ},
	} {
		c.must(c.GrantPermission(c.disk, "writer", p))
	}
	role, _ := c.Role("writer")
	if len(role.Permissions) != 3 {
		t.Errorf("permissions: %v", role.Permissions)
	}
	if err := c.Write(c.as("alice"), []byte("b"), nil); !errors.Is(err, ErrDenied) {
		t.Errorf("a right that was reduced: %v", err)
	}
}

func TestARoleThatIsDeletedLeavesItsUsers(t *testing.T) {
	c := staffed(t)
	c.must(c.DeleteRole(c.disk, "writer"))
	if c.HasRole("alice", "writer") || !slices.Equal(c.Roles(), nil) || !slices.Equal(c.Users(), []string{"alice", "root"}) {
		t.Errorf("roles %v, users %v", c.Roles(), c.users)
	}
}

func TestAUserWithoutAPasswordGetsNone(t *testing.T) {
	c := staffed(t)
	c.must(c.AddUser(c.disk, User{Name: "host", NoPassword: true}))
	c.must(c.SetPassword(c.disk, "host", []byte("hash")))
	c.must(c.SetPassword(c.disk, "alice", []byte("new")))
	host, _ := c.User("host")
	alice, _ := c.User("alice")
	if host.Hash != nil || string(alice.Hash) != "new" || !slices.Equal(alice.Roles, []string{"writer"}) {
		t.Errorf("%+v %+v", host, alice)
	}
}

func FuzzRecords(f *testing.F) {
	c := &cluster{disk: disk{}, Rules: NewRules()}
	for _, u := range []User{{Name: "a", Hash: []byte("hash"), Roles: []string{"x", "y"}}, {Name: "b", NoPassword: true}} {
		f.Add([]byte("u"+u.Name), encodeUser(u))
	}
	f.Add([]byte("rx"), encodeRole(Role{"x", []Permission{{[]byte("a"), []byte("b"), authpb.Permission_WRITE}}}))
	f.Add([]byte("c"), encodeConfig(c.Rules))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := Load(disk{string(key): string(value)})
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Errorf("%v is not ErrRecord", err)
			}
			return
		}
		// What was read is written again as it means the same.
		d := disk{}
		switch {
		case string(key) == "c":
			d.Set(configKey, encodeConfig(r))
		case key[0] == kindUser:
			d.Set(key, encodeUser(r.users[string(key[1:])]))
		default:
			d.Set(key, encodeRole(r.roles[string(key[1:])]))
		}
		again, err := Load(d)
		if err != nil || again.text() != r.text() {
			t.Errorf("%s became %v, %v", r.text(), again, err)
		}
	})
}

// etcd may have one permission several times; a grant replaces them all.
func TestAPermissionThatWasThereTwiceIsReplaced(t *testing.T) {
	twice, other := Permission{Key: []byte("k"), End: []byte("l"), Type: authpb.Permission_READWRITE}, Permission{Key: []byte("k")}
	from := disk{}
	Content{Roles: []Role{{Name: "writer", Permissions: []Permission{twice, other, twice, twice}}}}.Write(from)
	r, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	twice.Type = authpb.Permission_READ
	if r, err = r.GrantPermission(from, "writer", twice); err != nil {
		t.Fatal(err)
	}
	if role, _ := r.Role("writer"); fmt.Sprint(role.Permissions) != fmt.Sprint([]Permission{twice, other}) || r.Revision != 2 {
		t.Errorf("%+v at %d", role, r.Revision)
	}
}
