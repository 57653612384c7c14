// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/state"
)

const authService = "etcdserverpb.Auth"

// auth is etcd's service for users and roles. What changes them is decided when
// it is applied; what asks for them reads this member's state, made as new as
// the request.
func (s *Server) auth() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: authService,
		Methods: []grpc.MethodDesc{
			unary(s, authService, "AuthEnable", changing[*pb.AuthEnableRequest](s)),
			unary(s, authService, "AuthDisable", changing[*pb.AuthDisableRequest](s)),
			unary(s, authService, "AuthStatus", s.authStatus),
			unary(s, authService, "Authenticate", s.authenticate),
			unary(s, authService, "UserAdd", s.userAdd),
			unary(s, authService, "UserGet", s.userGet),
			unary(s, authService, "UserList", s.userList),
			unary(s, authService, "UserDelete", changing[*pb.AuthUserDeleteRequest](s)),
			unary(s, authService, "UserChangePassword", s.userChangePassword),
			unary(s, authService, "UserGrantRole", changing[*pb.AuthUserGrantRoleRequest](s)),
			unary(s, authService, "UserRevokeRole", changing[*pb.AuthUserRevokeRoleRequest](s)),
			unary(s, authService, "RoleAdd", changing[*pb.AuthRoleAddRequest](s)),
			unary(s, authService, "RoleGet", s.roleGet),
			unary(s, authService, "RoleList", s.roleList),
			unary(s, authService, "RoleDelete", changing[*pb.AuthRoleDeleteRequest](s)),
			unary(s, authService, "RoleGrantPermission", changing[*pb.AuthRoleGrantPermissionRequest](s)),
			unary(s, authService, "RoleRevokePermission", changing[*pb.AuthRoleRevokePermissionRequest](s)),
		},
	}
}

// changing handles what is agreed upon as it was asked. The answers have
// nothing but a header.
func changing[P proto.Message](s *Server) func(context.Context, call, P) (any, error) {
	return func(ctx context.Context, c call, r P) (any, error) {
		id, err := s.identify(ctx, c.caller)
		if err != nil {
			return nil, err
		}
		return s.write(ctx, c, state.AuthCommand(id, r))
	}
}

// ask returns who asks, and the rules as new as the request.
func (s *Server) ask(ctx context.Context, c call) (state.Identity, *auth.Rules, error) {
	if err := s.sync(ctx, c.start); err != nil {
		return state.Identity{}, nil, err
	}
	id, err := s.identify(ctx, c.caller)
	return id, s.config.Machine.Rules(), err
}

// authStatus answers everybody.
func (s *Server) authStatus(ctx context.Context, c call, _ *pb.AuthStatusRequest) (any, error) {
	_, rules, err := s.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{
		Header: s.header.message(s.revision()), Enabled: rules.Enabled, AuthRevision: rules.Revision,
	}, nil
}

// userAdd hashes the password here, as a hash is random and takes long; a hash
// that the client sent counts as little as in etcd. Who may not add a user is
// refused before. The password that a user without one is given all the same
// goes no further: the log would keep it.
func (s *Server) userAdd(ctx context.Context, c call, r *pb.AuthUserAddRequest) (any, error) {
	if r.GetOptions().GetNoPassword() {
		r.Password, r.HashedPassword = "", ""
	} else if err := s.hash64(ctx, c, &r.Password, &r.HashedPassword); err != nil {
		return nil, err
	}
	return changing[*pb.AuthUserAddRequest](s)(ctx, c, r)
}

// userChangePassword takes a hash from the client if there is no password.
func (s *Server) userChangePassword(ctx context.Context, c call, r *pb.AuthUserChangePasswordRequest) (any, error) {
	if r.Password != "" {
		if err := s.hash64(ctx, c, &r.Password, &r.HashedPassword); err != nil {
			return nil, err
		}
	}
	return changing[*pb.AuthUserChangePasswordRequest](s)(ctx, c, r)
}

// userGet tells administrators of everybody, and others of themselves.
func (s *Server) userGet(ctx context.Context, c call, r *pb.AuthUserGetRequest) (any, error) {
	id, rules, err := s.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := rules.Admin(auth.Caller(id)); err != nil && r.Name != id.Name {
		return nil, err
	}
	u, known := rules.User(r.Name)
	if !known {
		return nil, auth.ErrUserNotFound
	}
	return &pb.AuthUserGetResponse{Header: s.header.message(s.revision()), Roles: u.Roles}, nil
}

func (s *Server) userList(ctx context.Context, c call, _ *pb.AuthUserListRequest) (any, error) {
	id, rules, err := s.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := rules.Admin(auth.Caller(id)); err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: s.header.message(s.revision()), Users: rules.Users()}, nil
}

// roleGet tells administrators of every role, and others of their own.
func (s *Server) roleGet(ctx context.Context, c call, r *pb.AuthRoleGetRequest) (any, error) {
	id, rules, err := s.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := rules.Admin(auth.Caller(id)); err != nil && !rules.HasRole(id.Name, r.Role) {
		return nil, err
	}
	role, known := rules.Role(r.Role)
	if !known {
		return nil, auth.ErrRoleNotFound
	}
	reply := &pb.AuthRoleGetResponse{Header: s.header.message(s.revision())}
	for _, p := range role.Permissions {
		reply.Perm = append(reply.Perm, &authpb.Permission{PermType: p.Type, Key: p.Key, RangeEnd: p.End})
	}
	return reply, nil
}

func (s *Server) roleList(ctx context.Context, c call, _ *pb.AuthRoleListRequest) (any, error) {
	id, rules, err := s.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := rules.Admin(auth.Caller(id)); err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: s.header.message(s.revision()), Roles: rules.Roles()}, nil
}
