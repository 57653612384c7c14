// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"maps"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/authpb"
)

// rootName is the user that must be there, and the role that may do anything.
const rootName = "root"

// User is who can log in. Roles are sorted.
type User struct {
	Name       string
	Hash       []byte // bcrypt's, of the password
	NoPassword bool   // it comes by a certificate only
	Roles      []string
}

// Role is a set of permissions, sorted by key.
type Role struct {
	Name        string
	Permissions []Permission
}

// Permission opens a key, or the keys from Key to before End; the End "\x00"
// stands for no end.
type Permission struct {
	Key, End []byte
	Type     authpb.Permission_Type
}

// Caller is who asks. Root may do anything always. Revision is that of the
// rules by which Name was believed; zero says that nobody was named.
type Caller struct {
	Root     bool
	Name     string
	Revision uint64
}

// Rules are all users and roles at one auth revision. They are never changed,
// and may be asked concurrently.
type Rules struct {
	Enabled  bool
	Revision uint64

	users map[string]User
	roles map[string]Role

	// rights holds a *rights by user name, made when first asked for.
	rights sync.Map
}

// firstRevision is that of a cluster that never had a user.
const firstRevision = 1

// NewRules returns the rules of a cluster that was told none.
func NewRules() *Rules {
	return &Rules{Revision: firstRevision, users: map[string]User{}, roles: map[string]Role{}}
}

// User returns a user and whether there is one. The caller must not change it.
func (r *Rules) User(name string) (User, bool) {
	u, known := r.users[name]
	return u, known
}

// Role returns a role and whether there is one. The caller must not change it.
func (r *Rules) Role(name string) (Role, bool) {
	role, known := r.roles[name]
	if name == rootName && known {
		role.Permissions = []Permission{{Key: []byte{}, End: []byte{0}, Type: authpb.Permission_READWRITE}}
	}
	return role, known
}

// Users returns the names of all users, sorted.
func (r *Rules) Users() []string { return slices.Sorted(maps.Keys(r.users)) }

// Roles returns the names of all roles, sorted.
func (r *Rules) Roles() []string { return slices.Sorted(maps.Keys(r.roles)) }

// HasRole says whether a user has a role.
func (r *Rules) HasRole(user, role string) bool {
	_, has := slices.BinarySearch(r.users[user].Roles, role)
	return has
}

// Named refuses who gave no name: ErrUserEmpty.
func (r *Rules) Named(c Caller) error {
	if r.Enabled && !c.Root && c.Revision == 0 {
		return ErrUserEmpty
	}
	return nil
}

// Admin refuses who does not have the role root: ErrUserEmpty, ErrUserNotFound
// or ErrDenied. The age of the caller's revision is not looked at.
func (r *Rules) Admin(c Caller) error {
	if !r.Enabled || c.Root {
		return nil
	}
	if c.Name == "" {
		return ErrUserEmpty
	}
	if _, known := r.users[c.Name]; !known {
		return ErrUserNotFound
	}
	if !r.HasRole(c.Name, rootName) {
		return ErrDenied
	}
	return nil
}

// Current refuses who was believed by other rules than these: ErrOldRevision.
// etcd asks for it where it reads, also of who may do anything.
func (r *Rules) Current(c Caller) error {
	if r.Enabled && c.Revision != 0 && c.Revision != r.Revision {
		return ErrOldRevision
	}
	return nil
}

// Read refuses who may not read a key, or the keys up to an end: ErrUserEmpty,
// ErrOldRevision or ErrDenied.
func (r *Rules) Read(c Caller, key, end []byte) error {
	return r.check(c, key, end, (*rights).mayRead)
}

// Write refuses who may not write a key, or the keys up to an end, as Read does.
func (r *Rules) Write(c Caller, key, end []byte) error {
	return r.check(c, key, end, (*rights).mayWrite)
}

func (r *Rules) check(c Caller, key, end []byte, may func(*rights, []byte, []byte) bool) error {
	if !r.Enabled || c.Root {
		return nil
	}
	switch {
	case c.Revision == 0:
		return ErrUserEmpty
	case c.Revision < r.Revision:
		return ErrOldRevision
	}
	if r.HasRole(c.Name, rootName) || may(r.rightsOf(c.Name), key, end) {
		return nil
	}
	return ErrDenied
}

// rights are the permissions of all roles of one user.
type rights struct{ reads, writes spans }

func (r *rights) mayRead(key, end []byte) bool  { return r.reads.cover(spanOf(key, end)) }
func (r *rights) mayWrite(key, end []byte) bool { return r.writes.cover(spanOf(key, end)) }

func (r *Rules) rightsOf(user string) *rights {
	if known, ok := r.rights.Load(user); ok {
		return known.(*rights)
	}
	u, known := r.users[user]
	if !known {
		return &rights{} // not kept: anybody can make up names
	}
	var reads, writes []span
	for _, name := range u.Roles {
		for _, p := range r.roles[name].Permissions {
			s := spanOf(p.Key, p.End)
			if p.Type == authpb.Permission_READ || p.Type == authpb.Permission_READWRITE {
				reads = append(reads, s)
			}
			if p.Type == authpb.Permission_WRITE || p.Type == authpb.Permission_READWRITE {
				writes = append(writes, s)
			}
		}
	}
	made := &rights{merge(reads), merge(writes)}
	r.rights.Store(user, made)
	return made
}
