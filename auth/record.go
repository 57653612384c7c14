// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/binary"
	"fmt"
	"math"

	"go.etcd.io/etcd/api/v3/authpb"
)

// Records, each of which begins with a version byte. Texts are written with
// their length in front.
//
//	c         -> version, enabled, auth revision
//	u <name>  -> version, no password, hash, number of roles, roles
//	r <name>  -> version, number of permissions, of each: type, key, end
const (
	kindUser = 'u'
	kindRole = 'r'

	recordVersion = 1
)

var configKey = []byte("c")

func userKey(name string) []byte { return append([]byte{kindUser}, name...) }
func roleKey(name string) []byte { return append([]byte{kindRole}, name...) }

// Reader is where the records are.
type Reader interface {
	Scan(prefix []byte, fn func(key, value []byte) error) error
}

// Load reads what changes have written. It fails with [ErrRecord], or as the
// reader does.
func Load(from Reader) (*Rules, error) {
	r := NewRules()
	err := from.Scan(nil, func(key, value []byte) error {
		switch {
		case string(key) == string(configKey):
			return r.decodeConfig(value)
		case len(key) > 1 && key[0] == kindUser:
			u, err := decodeUser(string(key[1:]), value)
			r.users[u.Name] = u
			return err
		case len(key) > 1 && key[0] == kindRole:
			role, err := decodeRole(string(key[1:]), value)
			r.roles[role.Name] = role
			return err
		}
		return fmt.Errorf("%w: key %q", ErrRecord, key)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendText(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func encodeConfig(r *Rules) []byte {
	return binary.AppendUvarint([]byte{recordVersion, flag(r.Enabled)}, r.Revision)
}

func encodeUser(u User) []byte {
	b := appendText([]byte{recordVersion, flag(u.NoPassword)}, u.Hash)
	b = binary.AppendUvarint(b, uint64(len(u.Roles)))
	for _, role := range u.Roles {
		b = appendText(b, []byte(role))
	}
	return b
}

func encodeRole(r Role) []byte {
	b := binary.AppendUvarint([]byte{recordVersion}, uint64(len(r.Permissions)))
	for _, p := range r.Permissions {
		b = binary.AppendUvarint(b, uint64(uint32(p.Type)))
		b = appendText(appendText(b, p.Key), p.End)
	}
	return b
}

func (r *Rules) decodeConfig(b []byte) error {
	f := record{rest: b}
	f.version()
	r.Enabled = f.flag()
	r.Revision = f.number()
	return f.end("settings", "")
}

func decodeUser(name string, b []byte) (User, error) {
	f := record{rest: b}
	f.version()
	u := User{Name: name, NoPassword: f.flag(), Hash: f.text()}
	for n := f.number(); n > 0 && !f.bad; n-- {
		u.Roles = append(u.Roles, string(f.text()))
	}
	return u, f.end("user", name)
}

func decodeRole(name string, b []byte) (Role, error) {
	f := record{rest: b}
	f.version()
	role := Role{Name: name}
	for n := f.number(); n > 0 && !f.bad; n-- {
		kind := f.number()
		f.bad = f.bad || kind > math.MaxUint32
		p := Permission{Type: authpb.Permission_Type(uint32(kind)), Key: f.text(), End: f.text()}
		role.Permissions = append(role.Permissions, p)
	}
	return role, f.end("role", name)
}

// record is what is left to be read; a fault anywhere makes it bad.
type record struct {
	rest []byte
	bad  bool
}

func (f *record) byte() byte {
	if len(f.rest) == 0 {
		f.bad = true
		return 0
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

func (f *record) version() {
	if f.byte() != recordVersion {
		f.bad = true
	}
}

func (f *record) flag() bool {
	v := f.byte()
	f.bad = f.bad || v > 1
	return v == 1
}

func (f *record) number() uint64 {
	v, n := binary.Uvarint(f.rest)
	if f.bad || n <= 0 {
		f.bad = true
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *record) text() []byte {
	n := f.number()
	if f.bad || n > uint64(len(f.rest)) {
		f.bad = true
		return nil
	}
	v := append([]byte(nil), f.rest[:n]...) // the reader's memory is not ours
	f.rest = f.rest[n:]
	return v
}

func (f *record) end(what, name string) error {
	if f.bad || len(f.rest) > 0 {
		return fmt.Errorf("%w: %s %q", ErrRecord, what, name)
	}
	return nil
}
