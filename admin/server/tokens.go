// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// Invite makes a token, and says at which address it is to be used.
func (s *Server) Invite(ctx context.Context, r *admin.InviteRequest) (*admin.InviteResponse, error) {
	reply, err := s.invite(ctx, r)
	if err != nil {
		return nil, fault(s.log, "Invite", err)
	}
	return reply, nil
}

func (s *Server) invite(ctx context.Context, r *admin.InviteRequest) (*admin.InviteResponse, error) {
	address := ""
	if s.config.PeerAddress != nil {
		address = s.config.PeerAddress()
	}
	if address == "" {
		return nil, errNoAddress
	}
	if r.TtlSeconds > math.MaxInt64/int64(time.Second) || r.TtlSeconds < 0 {
		return nil, fmt.Errorf("%w: a life of %d seconds", pki.ErrInvitation, r.TtlSeconds)
	}
	invitation := pki.Invitation{
		Role: pki.RoleMember, TTL: time.Duration(r.TtlSeconds) * time.Second,
		Uses: int(r.Uses), Member: r.Member, By: s.config.Name,
	}
	if r.Learner {
		invitation.Role = pki.RoleLearner
	}
	t, info, err := s.config.Authority.Invite(ctx, invitation)
	if err != nil {
		return nil, err
	}
	return &admin.InviteResponse{Token: t.Text(), Address: address, Info: token(info)}, nil
}

// CreateToken makes a client's token.
func (s *Server) CreateToken(ctx context.Context, r *admin.CreateTokenRequest) (*admin.CreateTokenResponse, error) {
	reply, err := s.createToken(ctx, r)
	if err != nil {
		return nil, fault(s.log, "CreateToken", err)
	}
	return reply, nil
}

func (s *Server) createToken(ctx context.Context, r *admin.CreateTokenRequest) (*admin.CreateTokenResponse, error) {
	if r.Client == "" {
		return nil, fmt.Errorf("%w: it is for no client", pki.ErrInvitation)
	}
	for _, seconds := range []int64{r.TtlSeconds, r.CertTtlSeconds} {
		if seconds > math.MaxInt64/int64(time.Second) || seconds < 0 {
			return nil, fmt.Errorf("%w: a life of %d seconds", pki.ErrInvitation, seconds)
		}
	}
	t, info, err := s.config.Authority.Invite(ctx, pki.Invitation{
		Client: r.Client, TTL: time.Duration(r.TtlSeconds) * time.Second, Uses: int(r.Uses), By: s.config.Name,
		CertTTL: time.Duration(r.CertTtlSeconds) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	reply := &admin.CreateTokenResponse{Token: t.Text(), Info: token(info)}
	if s.config.LoginAddress != nil {
		reply.Address = s.config.LoginAddress()
	}
	return reply, nil
}

// ListTokens tells what is known of the tokens.
func (s *Server) ListTokens(ctx context.Context, _ *admin.ListTokensRequest) (*admin.ListTokensResponse, error) {
	found, err := s.config.Authority.Tokens(ctx)
	if err != nil {
		return nil, fault(s.log, "ListTokens", err)
	}
	reply := new(admin.ListTokensResponse)
	for _, info := range found {
		reply.Tokens = append(reply.Tokens, token(info))
	}
	return reply, nil
}

// RevokeToken ends a token.
func (s *Server) RevokeToken(ctx context.Context, r *admin.RevokeTokenRequest) (*admin.RevokeTokenResponse, error) {
	info, err := s.config.Authority.RevokeToken(ctx, r.Token)
	if err != nil {
		return nil, fault(s.log, "RevokeToken", err)
	}
	return &admin.RevokeTokenResponse{Token: token(info)}, nil
}

func token(info pki.TokenInfo) *admin.Token {
	t := &admin.Token{
		Id: info.ID, Learner: info.Role == pki.RoleLearner, Member: info.Member, CreatedBy: info.By,
		Created: timestamppb.New(info.Created), Expires: timestamppb.New(info.Expires),
		UsesLeft: int32(info.Left), Joined: info.Joined, Client: info.Client,
	}
	if !info.Revoked.IsZero() {
		t.Revoked = timestamppb.New(info.Revoked)
	}
	return t
}
