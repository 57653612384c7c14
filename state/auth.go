// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
)

// Changes of users and roles. The door has replaced every password by its hash:
// a hash is random, takes long, and a log is no place for a password.

// administers says whether commands of a kind are for who has the role root.
func (k kind) administers() bool {
	switch k {
	case kindCompact, kindAlarmOn, kindAlarmOff:
		return true
	}
	return k.ofAuth() && k != kindAuthenticate
}

func (k kind) ofAuth() bool { return k >= kindAuthEnable && k <= kindRoleRevoke }

// AuthCommand returns the command for a request of etcd's Auth service that
// changes something. In the place of a password it has the hash.
func AuthCommand(id Identity, r proto.Message) []byte {
	return requestCommand(kindOf(r), id, r)
}

func kindOf(r proto.Message) kind {
	switch r.(type) {
	case *pb.AuthEnableRequest:
		return kindAuthEnable
	case *pb.AuthDisableRequest:
		return kindAuthDisable
	case *pb.AuthUserAddRequest:
		return kindUserAdd
	case *pb.AuthUserDeleteRequest:
		return kindUserDelete
	case *pb.AuthUserChangePasswordRequest:
		return kindUserPassword
	case *pb.AuthUserGrantRoleRequest:
		return kindUserGrant
	case *pb.AuthUserRevokeRoleRequest:
		return kindUserRevoke
	case *pb.AuthRoleAddRequest:
		return kindRoleAdd
	case *pb.AuthRoleDeleteRequest:
		return kindRoleDelete
	case *pb.AuthRoleGrantPermissionRequest:
		return kindRoleGrant
	case *pb.AuthRoleRevokePermissionRequest:
		return kindRoleRevoke
	}
	panic(fmt.Sprintf("state: a %T changes no users or roles", r))
}

// AuthenticateCommand returns the command that makes a token known to all
// members, for a user whose password was right by the rules of a revision. If
// they are others by then the result is auth.ErrOldRevision. [LoggedIn] reads
// the answer.
func AuthenticateCommand(user string, revision uint64, token auth.Digest) []byte {
	return append(appendPrefix(nil, kindAuthenticate, Identity{Name: user, Revision: revision}), token[:]...)
}

// LoggedIn returns the index that is part of the token that a command made.
func LoggedIn(r Reply) (index uint64, err error) {
	index, n := binary.Uvarint(r.Payload)
	if n <= 0 {
		return 0, fmt.Errorf("state: answer to a login of %d bytes", len(r.Payload))
	}
	return index, nil
}

func (a *applier) authenticate(body []byte) (Reply, error) {
	if len(body) != len(auth.Digest{}) {
		return Reply{}, fmt.Errorf("%w: token of %d bytes", ErrCommand, len(body))
	}
	switch {
	case !a.rules.Enabled:
		return Reply{}, auth.ErrNotEnabled
	case a.caller.Revision != a.rules.Revision:
		return Reply{}, auth.ErrOldRevision
	}
	a.machine.tokens.Assign(auth.Digest(body), a.index, a.caller.Name)
	return Reply{Revision: a.revision(), Payload: binary.AppendUvarint(nil, a.index)}, nil
}

// authTable lets the auth package keep itself in the batch being applied.
type authTable struct{ batch *kv.Batch }

func (t authTable) Set(key, value []byte) { t.batch.Set(tableAuth, key, value) }
func (t authTable) Delete(key []byte)     { t.batch.Delete(tableAuth, key) }

// changedRules takes over the rules after a change.
func (a *applier) changedRules(next *auth.Rules, err error) (Reply, error) {
	if err != nil {
		return Reply{}, err
	}
	a.rules = next
	return Reply{Revision: a.revision()}, nil
}

func (a *applier) dispatchAuth(k kind, body []byte) (Reply, error) {
	w := authTable{a.batch}
	switch k {
	case kindAuthenticate:
		return a.authenticate(body)
	case kindAuthEnable:
		return a.changedRules(a.rules.Enable(w))
	case kindAuthDisable:
		if a.rules.Enabled {
			a.machine.tokens.Clear()
		}
		return a.changedRules(a.rules.Disable(w), nil)
	case kindUserAdd:
		return with(body, &pb.AuthUserAddRequest{}, a.userAdd)
	case kindUserDelete:
		return with(body, &pb.AuthUserDeleteRequest{}, a.userDelete)
	case kindUserPassword:
		return with(body, &pb.AuthUserChangePasswordRequest{}, a.userPassword)
	case kindUserGrant:
		return with(body, &pb.AuthUserGrantRoleRequest{}, func(r *pb.AuthUserGrantRoleRequest) (Reply, error) {
			return a.changedRules(a.rules.GrantRole(w, r.User, r.Role))
		})
	case kindUserRevoke:
		return with(body, &pb.AuthUserRevokeRoleRequest{}, func(r *pb.AuthUserRevokeRoleRequest) (Reply, error) {
			return a.changedRules(a.rules.RevokeRole(w, r.Name, r.Role))
		})
	case kindRoleAdd:
		return with(body, &pb.AuthRoleAddRequest{}, func(r *pb.AuthRoleAddRequest) (Reply, error) {
			return a.changedRules(a.rules.AddRole(w, r.Name))
		})
	case kindRoleDelete:
		return with(body, &pb.AuthRoleDeleteRequest{}, func(r *pb.AuthRoleDeleteRequest) (Reply, error) {
			return a.changedRules(a.rules.DeleteRole(w, r.Role))
		})
	case kindRoleGrant:
		return with(body, &pb.AuthRoleGrantPermissionRequest{}, a.roleGrant)
	}
	return with(body, &pb.AuthRoleRevokePermissionRequest{}, func(r *pb.AuthRoleRevokePermissionRequest) (Reply, error) {
		return a.changedRules(a.rules.RevokePermission(w, r.Role, r.Key, r.RangeEnd))
	})
}

func (a *applier) userAdd(r *pb.AuthUserAddRequest) (Reply, error) {
	u := auth.User{Name: r.Name, NoPassword: r.GetOptions().GetNoPassword()}
	if !u.NoPassword {
		hash, err := base64.StdEncoding.DecodeString(r.HashedPassword)
		if err != nil {
			return Reply{}, auth.ErrNoPassword
		}
		u.Hash = hash
	}
	return a.changedRules(a.rules.AddUser(authTable{a.batch}, u))
}

func (a *applier) userDelete(r *pb.AuthUserDeleteRequest) (Reply, error) {
	reply, err := a.changedRules(a.rules.DeleteUser(authTable{a.batch}, r.Name))
	if err == nil {
		a.machine.tokens.Forget(r.Name)
	}
	return reply, err
}

func (a *applier) userPassword(r *pb.AuthUserChangePasswordRequest) (Reply, error) {
	u, known := a.rules.User(r.Name)
	hash, err := base64.StdEncoding.DecodeString(r.HashedPassword)
	if err != nil && known && !u.NoPassword {
		return Reply{}, auth.ErrNoPassword
	}
	reply, err := a.changedRules(a.rules.SetPassword(authTable{a.batch}, r.Name, hash))
	if err == nil {
		a.machine.tokens.Forget(r.Name)
	}
	return reply, err
}

func (a *applier) roleGrant(r *pb.AuthRoleGrantPermissionRequest) (Reply, error) {
	if r.Perm == nil {
		return Reply{}, auth.ErrPermissionNotGiven
	}
	p := auth.Permission{Key: r.Perm.Key, End: r.Perm.RangeEnd, Type: r.Perm.PermType}
	return a.changedRules(a.rules.GrantPermission(authTable{a.batch}, r.Name, p))
}
