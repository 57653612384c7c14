// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"maps"
	"slices"
)

// Writer takes the records of a change. [Load] reads them.
type Writer interface {
	Set(key, value []byte)
	Delete(key []byte)
}

// A change either fails and has written nothing, or returns the rules after it.
// What the rules were stays as it is.

// next returns a copy at the next revision, and writes that down.
func (r *Rules) next(w Writer, enabled bool) *Rules {
	n := &Rules{Enabled: enabled, Revision: r.Revision + 1, users: r.users, roles: r.roles}
	w.Set(configKey, encodeConfig(n))
	return n
}

func (r *Rules) withUser(w Writer, u User) *Rules {
	n := r.next(w, r.Enabled)
	n.users = maps.Clone(r.users)
	n.users[u.Name] = u
	w.Set(userKey(u.Name), encodeUser(u))
	return n
}

func (r *Rules) withRole(w Writer, role Role) *Rules {
	n := r.next(w, r.Enabled)
	n.roles = maps.Clone(r.roles)
	n.roles[role.Name] = role
	w.Set(roleKey(role.Name), encodeRole(role))
	return n
}

// Enable makes the rules count. It fails with ErrRootUserNotExist or
// ErrRootRoleNotExist, and changes no revision.
func (r *Rules) Enable(w Writer) (*Rules, error) {
	if r.Enabled {
		return r, nil
	}
	if _, known := r.users[rootName]; !known {
		return nil, ErrRootUserNotExist
	}
	if !r.HasRole(rootName, rootName) {
		return nil, ErrRootRoleNotExist
	}
	n := &Rules{Enabled: true, Revision: r.Revision, users: r.users, roles: r.roles}
	w.Set(configKey, encodeConfig(n))
	return n, nil
}

// Disable lets everybody do anything; the rules are kept.
func (r *Rules) Disable(w Writer) *Rules {
	if !r.Enabled {
		return r
	}
	return r.next(w, false)
}

// AddUser fails with ErrUserEmpty or ErrUserExists.
func (r *Rules) AddUser(w Writer, u User) (*Rules, error) {
	if u.Name == "" {
		return nil, ErrUserEmpty
	}
	if _, known := r.users[u.Name]; known {
		return nil, ErrUserExists
	}
	return r.withUser(w, u), nil
}

// DeleteUser fails with ErrManagement or ErrUserNotFound.
func (r *Rules) DeleteUser(w Writer, name string) (*Rules, error) {
	if r.Enabled && name == rootName {
		return nil, ErrManagement
	}
	if _, known := r.users[name]; !known {
		return nil, ErrUserNotFound
	}
	n := r.next(w, r.Enabled)
	n.users = maps.Clone(r.users)
	delete(n.users, name)
	w.Delete(userKey(name))
	return n, nil
}

// SetPassword fails with ErrUserNotFound. The hash of a user without a
// password stays none.
func (r *Rules) SetPassword(w Writer, name string, hash []byte) (*Rules, error) {
	u, known := r.users[name]
	if !known {
		return nil, ErrUserNotFound
	}
	if u.NoPassword {
		hash = nil
	}
	u.Hash = hash
	return r.withUser(w, u), nil
}

// GrantRole fails with ErrUserNotFound or ErrRoleNotFound. The role root need
// not be there. One that the user has already changes nothing.
func (r *Rules) GrantRole(w Writer, user, role string) (*Rules, error) {
	u, known := r.users[user]
	if !known {
		return nil, ErrUserNotFound
	}
	if _, known := r.roles[role]; !known && role != rootName {
		return nil, ErrRoleNotFound
	}
	at, has := slices.BinarySearch(u.Roles, role)
	if has {
		return r, nil
	}
	u.Roles = slices.Insert(slices.Clone(u.Roles), at, role)
	return r.withUser(w, u), nil
}

// RevokeRole fails with ErrManagement, ErrUserNotFound or ErrRoleNotGranted.
func (r *Rules) RevokeRole(w Writer, user, role string) (*Rules, error) {
	if r.Enabled && user == rootName && role == rootName {
		return nil, ErrManagement
	}
	u, known := r.users[user]
	if !known {
		return nil, ErrUserNotFound
	}
	at, has := slices.BinarySearch(u.Roles, role)
	if !has {
		return nil, ErrRoleNotGranted
	}
	u.Roles = slices.Delete(slices.Clone(u.Roles), at, at+1)
	return r.withUser(w, u), nil
}

// AddRole fails with ErrRoleEmpty or ErrRoleExists.
func (r *Rules) AddRole(w Writer, name string) (*Rules, error) {
	if name == "" {
		return nil, ErrRoleEmpty
	}
	if _, known := r.roles[name]; known {
		return nil, ErrRoleExists
	}
	return r.withRole(w, Role{Name: name}), nil
}

// DeleteRole takes the role from its users too. It fails with ErrManagement or
// ErrRoleNotFound.
func (r *Rules) DeleteRole(w Writer, name string) (*Rules, error) {
	if r.Enabled && name == rootName {
		return nil, ErrManagement
	}
	if _, known := r.roles[name]; !known {
		return nil, ErrRoleNotFound
	}
	n := r.next(w, r.Enabled)
	n.roles, n.users = maps.Clone(r.roles), maps.Clone(r.users)
	delete(n.roles, name)
	w.Delete(roleKey(name))
	for _, user := range r.Users() { // in order, so that all members write alike
		u := r.users[user]
		at, has := slices.BinarySearch(u.Roles, name)
		if !has {
			continue
		}
		u.Roles = slices.Delete(slices.Clone(u.Roles), at, at+1)
		n.users[u.Name] = u
		w.Set(userKey(u.Name), encodeUser(u))
	}
	return n, nil
}

// GrantPermission gives a role a permission, in the place of those with the same
// key and end, of which etcd may have made several. It fails with ErrManagement
// for what is no range, or with ErrRoleNotFound.
func (r *Rules) GrantPermission(w Writer, name string, p Permission) (*Rules, error) {
	if !sound(p) {
		return nil, ErrManagement
	}
	role, known := r.roles[name]
	if !known {
		return nil, ErrRoleNotFound
	}
	role.Permissions = slices.Clone(role.Permissions)
	at := slices.IndexFunc(role.Permissions, p.same)
	if at >= 0 {
		role.Permissions[at] = p
		others := slices.DeleteFunc(role.Permissions[at+1:], p.same)
		role.Permissions = role.Permissions[:at+1+len(others)]
	} else {
		role.Permissions = append(role.Permissions, p)
		slices.SortStableFunc(role.Permissions, byKey)
	}
	return r.withRole(w, role), nil
}

// RevokePermission takes back what was granted for just this key and end. It
// fails with ErrRoleNotFound or ErrPermissionNotGranted.
func (r *Rules) RevokePermission(w Writer, name string, key, end []byte) (*Rules, error) {
	role, known := r.roles[name]
	if !known {
		return nil, ErrRoleNotFound
	}
	left := slices.DeleteFunc(slices.Clone(role.Permissions), Permission{Key: key, End: end}.same)
	if len(left) == len(role.Permissions) {
		return nil, ErrPermissionNotGranted
	}
	role.Permissions = left
	return r.withRole(w, role), nil
}

func sound(p Permission) bool {
	return len(p.Key) > 0 && (len(p.End) == 0 || openEnd(p.End) || bytes.Compare(p.Key, p.End) < 0)
}

func (p Permission) same(other Permission) bool {
	return bytes.Equal(p.Key, other.Key) && bytes.Equal(p.End, other.End)
}

func byKey(a, b Permission) int { return bytes.Compare(a.Key, b.Key) }
