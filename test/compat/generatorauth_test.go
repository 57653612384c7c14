// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Few users and roles, so that rights change under who uses them. Who shows no
// token is the certificate's alice.
var (
	users     = []string{"alice", "alice", "bob", "bob", "root"}
	roles     = []string{"first", "first", "second", "second", "root"}
	passwords = []string{"one", "two"}
	actors    = []string{"root", "root", "root", "alice", "bob", ""}
)

// rights are the windows that roles get. No two begin alike: of two that do,
// etcd keeps a right that is granted again.
var rights = [][2]string{{"a", "b"}, {"aa", ""}, {"b", "\x00"}, {"c", "e"}, {"\x00", "\x00"}, {"d", ""}, {"", ""}, {lockName, "\x00"}, {"e", "c"}}

func one[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

func (g *generator) user() string {
	if g.chance(40) {
		return ""
	}
	return one(g, users)
}

func (g *generator) role() string {
	if g.chance(40) {
		return ""
	}
	return one(g, roles)
}

// password is always the same of root, who must get in.
func (g *generator) password(user string) string {
	if user == "root" {
		return user
	}
	return one(g, passwords)
}

// rule is a request about who may do what. While nobody counts it is mostly one
// that leads there.
func (g *generator) rule() proto.Message {
	if !g.enabled && g.chance(8) {
		return one(g, []proto.Message{
			&pb.AuthUserAddRequest{Name: "root", Password: "root"}, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &pb.AuthEnableRequest{},
		})
	}
	switch n := g.IntN(30); {
	case n < 4:
		name := g.user()
		return &pb.AuthenticateRequest{Name: name, Password: g.password(name)}
	case n < 12:
		return g.ofUsers()
	case n < 22:
		return g.ofRoles()
	case n < 28:
		return g.look()
	case n == 28:
		return &pb.AuthEnableRequest{}
	}
	return &pb.AuthDisableRequest{}
}

func (g *generator) ofUsers() proto.Message {
	name := g.user()
	switch g.IntN(9) {
	case 0, 1:
		r := &pb.AuthUserAddRequest{Name: name, Password: g.password(name)}
		if name != "root" && g.chance(8) {
			r.Options = &authpb.UserAddOptions{NoPassword: true}
		}
		return r
	case 2:
		return &pb.AuthUserDeleteRequest{Name: name}
	case 3:
		return &pb.AuthUserChangePasswordRequest{Name: name, Password: g.password(name)}
	case 4:
		return &pb.AuthUserRevokeRoleRequest{Name: name, Role: g.role()}
	}
	return &pb.AuthUserGrantRoleRequest{User: name, Role: g.role()}
}

func (g *generator) ofRoles() proto.Message {
	window := one(g, rights)
	switch g.IntN(10) {
	case 0, 1:
		return &pb.AuthRoleAddRequest{Name: g.role()}
	case 2:
		return &pb.AuthRoleDeleteRequest{Role: g.role()}
	case 3, 4:
		return &pb.AuthRoleRevokePermissionRequest{Role: g.role(), Key: []byte(window[0]), RangeEnd: []byte(window[1])}
	}
	return grant(g.role(), window[0], window[1], authpb.Permission_Type(g.IntN(4)))
}

func (g *generator) look() proto.Message {
	return one(g, []proto.Message{
		&pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthRoleListRequest{}, &pb.AuthUserGetRequest{Name: g.user()}, &pb.AuthRoleGetRequest{Role: g.role()},
	})
}
