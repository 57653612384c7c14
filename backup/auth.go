// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/backup/file"
)

// Users, their bcrypt hashes and roles are the same in etcd and here, so that
// whoever could log in before can do so after.

// authBuckets returns the buckets of users and roles.
func authBuckets(c auth.Content) map[string]map[string][]byte {
	users, roles := map[string][]byte{}, map[string][]byte{}
	for _, u := range c.Users {
		users[u.Name] = encode(&authpb.User{
			Name: []byte(u.Name), Password: u.Hash, Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword},
		})
	}
	for _, role := range c.Roles {
		r := &authpb.Role{Name: []byte(role.Name)}
		for _, p := range role.Permissions {
			r.KeyPermission = append(r.KeyPermission, &authpb.Permission{PermType: p.Type, Key: p.Key, RangeEnd: p.End})
		}
		roles[role.Name] = encode(r)
	}
	enabled := []byte{0}
	if c.Enabled {
		enabled[0] = 1
	}
	settings := map[string][]byte{
		file.AuthEnabled:  enabled,
		file.AuthRevision: binary.BigEndian.AppendUint64(nil, c.Revision),
	}
	return map[string]map[string][]byte{file.Auth: settings, file.AuthUsers: users, file.AuthRoles: roles}
}

func encode(m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("backup: encode %T: %v", m, err)) // the state has no text that is not UTF-8
	}
	return raw
}

func writeAuth(w *file.Writer, c auth.Content) {
	buckets := authBuckets(c)
	for _, name := range []string{file.Auth, file.AuthRoles, file.AuthUsers} {
		putAll(w, name, buckets[name])
	}
}

// authRoom is what writeAuth takes at most. A name may be long, and leads to
// its record too: once, and for two records once more.
func authRoom(c auth.Content) (room int64) {
	for _, pairs := range authBuckets(c) {
		for key, value := range pairs {
			room += file.Room(int64(len(key)+len(value))) + 2*file.Room(int64(len(key)))
		}
	}
	return room
}

// readAuth reads users and roles; those that no etcd writes are ErrDamaged.
func readAuth(s *file.Reader) (c auth.Content, err error) {
	if err := s.Walk(file.Auth, func(key, value []byte) error { return readAuthSetting(&c, key, value) }); err != nil {
		return c, err
	}
	err = s.Walk(file.AuthUsers, func(key, value []byte) error {
		u, err := decodeUser(key, value)
		c.Users = append(c.Users, u)
		return err
	})
	if err != nil {
		return c, err
	}
	return c, s.Walk(file.AuthRoles, func(key, value []byte) error {
		role, err := decodeRole(key, value)
		c.Roles = append(c.Roles, role)
		return err
	})
}

func readAuthSetting(c *auth.Content, key, value []byte) error {
	switch string(key) {
	case file.AuthEnabled:
		if len(value) != 1 || value[0] > 1 {
			return fmt.Errorf("%w: %s is %x", file.ErrDamaged, key, value)
		}
		c.Enabled = value[0] == 1
	case file.AuthRevision:
		if len(value) == 8 {
			c.Revision = binary.BigEndian.Uint64(value)
		}
		if len(value) != 8 || c.Revision > maxRevision {
			return fmt.Errorf("%w: %s is %x", file.ErrDamaged, key, value)
		}
	}
	return nil
}

func decodeUser(key, value []byte) (auth.User, error) {
	var u authpb.User
	err := proto.Unmarshal(value, &u)
	if err == nil {
		err = checkName(key, u.Name)
	}
	if err == nil && slices.Contains(u.Roles, "") {
		err = errors.New("a role without a name")
	}
	if err != nil {
		return auth.User{}, fmt.Errorf("%w: user %q: %w", file.ErrDamaged, key, err)
	}
	return auth.User{Name: string(key), Hash: u.Password, NoPassword: u.GetOptions().GetNoPassword(), Roles: u.Roles}, nil
}

// decodeRole takes every permission, also of ranges that are none and of types
// that there are not: old ones of etcd granted them, and they permit nothing.
func decodeRole(key, value []byte) (auth.Role, error) {
	var r authpb.Role
	err := proto.Unmarshal(value, &r)
	if err == nil {
		err = checkName(key, r.Name)
	}
	if err != nil {
		return auth.Role{}, fmt.Errorf("%w: role %q: %w", file.ErrDamaged, key, err)
	}
	role := auth.Role{Name: string(key)}
	for _, p := range r.KeyPermission {
		role.Permissions = append(role.Permissions, auth.Permission{Key: p.Key, End: p.RangeEnd, Type: p.PermType})
	}
	return role, nil
}

// checkName compares under which name a record is kept with the one in it.
func checkName(key, name []byte) error {
	switch {
	case len(key) == 0:
		return errors.New("the name is empty")
	case !utf8.Valid(key):
		return errors.New("the name is not UTF-8") // no answer could tell it
	case string(key) != string(name):
		return fmt.Errorf("the record names %q", name)
	}
	return nil
}
