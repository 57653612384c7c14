// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/state"
)

// Who asks is decided anew for each request, since rules may come to count, and
// tokens end, while a connection lasts. A token beats the connection: on the
// socket it lets the administrator see what a user sees. Without one it is who
// the door says it is, through the gateway too: its requests come as their
// caller, not with the server's certificate as etcd's do.

// tokens is the part of *auth.Tokens that requests need.
type tokens interface {
	User(d auth.Digest, index uint64) (name string, ok bool)
}

// identify returns who asks. It fails with auth.ErrToken, or as sync does where
// a token is newer than this member's state.
func (s *Server) identify(ctx context.Context, from *caller) (state.Identity, error) {
	rules := s.config.Machine.Rules()
	if !rules.Enabled {
		return from.identity, nil
	}
	if token, given := tokenOf(ctx); given {
		return s.bearerOf(ctx, token, rules)
	}
	id := from.identity
	if !id.Root {
		id.Revision = rules.Revision
	}
	return id, nil
}

// named is identify for what every user may do, and nobody else.
func (s *Server) named(ctx context.Context, from *caller) (state.Identity, error) {
	id, err := s.identify(ctx, from)
	if err != nil {
		return id, err
	}
	return id, s.config.Machine.Rules().Named(auth.Caller(id))
}

// admin is identify for what needs the role root.
func (s *Server) admin(ctx context.Context, from *caller) (state.Identity, error) {
	id, err := s.identify(ctx, from)
	if err != nil {
		return id, err
	}
	return id, s.config.Machine.Rules().Admin(auth.Caller(id))
}

// admins lets only administrators through to a handler.
func admins[P any](s *Server, handle func(context.Context, call, P) (any, error)) func(context.Context, call, P) (any, error) {
	return func(ctx context.Context, c call, r P) (any, error) {
		if _, err := s.admin(ctx, c.caller); err != nil {
			return nil, err
		}
		return handle(ctx, c, r)
	}
}

// adminsOnly is admins for streams.
func (s *Server) adminsOnly(handle func(*flow) error) func(*flow) error {
	return func(f *flow) error {
		if _, err := s.admin(f.ctx, f.caller); err != nil {
			return err
		}
		return handle(f)
	}
}

// tokenOf returns the token that a request carries: of grpc in "token", of the
// gateway in "authorization".
func tokenOf(ctx context.Context) (token string, given bool) {
	for _, key := range []string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if stated := metadata.ValueFromIncomingContext(ctx, key); len(stated) > 0 {
			return strings.TrimPrefix(stated[0], "Bearer "), true
		}
	}
	return "", false
}

func (s *Server) bearerOf(ctx context.Context, token string, rules *auth.Rules) (state.Identity, error) {
	if s.config.JWT != nil {
		c, err := s.config.JWT.Caller(token)
		return state.Identity(c), err
	}
	digest, index, ok := auth.ParseToken(token)
	if !ok {
		return state.Identity{}, auth.ErrToken
	}
	// A token is there before its entry counts as applied, so the index is looked
	// at first; and the rules before the token, which ends when its user does:
	// whoever has the name by later rules may be somebody else.
	ahead := index > s.config.Machine.AppliedIndex()
	name, known := s.tokens.User(digest, index)
	if !known && ahead {
		// The client logged in at another member, which is ahead of this one.
		if err := s.sync(ctx, time.Now()); err != nil {
			return state.Identity{}, err
		}
		rules = s.config.Machine.Rules()
		name, known = s.tokens.User(digest, index)
	}
	if !known {
		return state.Identity{}, auth.ErrToken
	}
	return state.Identity{Name: name, Revision: rules.Revision}, nil
}

// authenticate gives a token for a password. The check may wait for others, so
// only what follows is bounded in time. When the rules change meanwhile it
// begins anew; a password that was right is remembered.
func (s *Server) authenticate(ctx context.Context, c call, r *pb.AuthenticateRequest) (any, error) {
	if err := s.sync(ctx, c.start); err != nil {
		return nil, err
	}
	for {
		rules := s.config.Machine.Rules()
		if err := s.checkPassword(ctx, rules, r); err != nil {
			return nil, err
		}
		if s.config.JWT != nil {
			token, err := s.config.JWT.Token(r.Name, rules.Revision)
			if err != nil {
				return nil, err
			}
			return &pb.AuthenticateResponse{Header: s.header.message(s.revision()), Token: token}, nil
		}
		letters, digest := auth.NewToken()
		c.start = time.Now()
		reply, err := s.propose(ctx, c, state.AuthenticateCommand(r.Name, rules.Revision, digest))
		if errors.Is(err, auth.ErrOldRevision) {
			continue
		}
		if err != nil {
			return nil, err
		}
		index, err := state.LoggedIn(reply)
		if err != nil {
			return nil, err
		}
		return &pb.AuthenticateResponse{Header: s.header.message(reply.Revision), Token: auth.TokenText(letters, index)}, nil
	}
}

func (s *Server) checkPassword(ctx context.Context, rules *auth.Rules, r *pb.AuthenticateRequest) error {
	if !rules.Enabled {
		return auth.ErrNotEnabled
	}
	u, known := rules.User(r.Name)
	if !known {
		return auth.ErrFailed
	}
	if u.NoPassword {
		return auth.ErrNoPassword
	}
	return s.config.Passwords.Check(ctx, u.Name, u.Hash, r.Password)
}

// hash64 puts a password's hash in its place, if the caller may set passwords.
func (s *Server) hash64(ctx context.Context, c call, password, hashed *string) error {
	if _, err := s.admin(ctx, c.caller); err != nil {
		return err
	}
	hash, err := s.config.Passwords.Hash(ctx, *password)
	if err != nil {
		return err
	}
	*password, *hashed = "", base64.StdEncoding.EncodeToString(hash)
	return nil
}
