// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"cmp"
	"maps"
	"slices"
)

// Content is all that rules say, for whoever takes them to another cluster.
// The role root has what it was given, not what it may.
type Content struct {
	Enabled  bool
	Revision uint64
	Users    []User // by name, here and below
	Roles    []Role
}

// Content returns what the rules say. The caller must not change it.
func (r *Rules) Content() Content {
	return Content{
		Enabled:  r.Enabled,
		Revision: r.Revision,
		Users:    slices.SortedFunc(maps.Values(r.users), func(a, b User) int { return cmp.Compare(a.Name, b.Name) }),
		Roles:    slices.SortedFunc(maps.Values(r.roles), func(a, b Role) int { return cmp.Compare(a.Name, b.Name) }),
	}
}

// Write writes the records of rules that say all of this, where there are none;
// [Load] makes them rules. The order of a user's roles and of a role's
// permissions need not be ours, names must not be empty, and the revision zero
// is that of a cluster that never had a user.
func (c Content) Write(w Writer) {
	w.Set(configKey, encodeConfig(&Rules{Enabled: c.Enabled, Revision: max(c.Revision, firstRevision)}))
	for _, u := range c.Users {
		u.Roles = slices.Compact(slices.Sorted(slices.Values(u.Roles)))
		w.Set(userKey(u.Name), encodeUser(u))
	}
	for _, role := range c.Roles {
		role.Permissions = slices.SortedStableFunc(slices.Values(role.Permissions), byKey)
		w.Set(roleKey(role.Name), encodeRole(role))
	}
}
