// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// CreateStepToken makes a one-time token for step.
func (s *Server) CreateStepToken(_ context.Context, r *admin.CreateStepTokenRequest) (*admin.CreateStepTokenResponse, error) {
	reply, err := s.createStepToken(r)
	if err != nil {
		return nil, fault(s.log, "CreateStepToken", err)
	}
	return reply, nil
}

func (s *Server) createStepToken(r *admin.CreateStepTokenRequest) (*admin.CreateStepTokenResponse, error) {
	address := ""
	if s.config.LoginAddress != nil {
		address = s.config.LoginAddress()
	}
	if address == "" {
		return nil, errNoCADoor
	}
	profile, err := pki.ParseProfile(r.Profile)
	if err != nil {
		return nil, err
	}
	if r.TtlSeconds > math.MaxInt64/int64(time.Second) || r.TtlSeconds < 0 {
		return nil, fmt.Errorf("%w: a life of %d seconds", pki.ErrInvitation, r.TtlSeconds)
	}
	ttl := cmp.Or(time.Duration(r.TtlSeconds)*time.Second, pki.DefaultOneTimeTTL)
	expires := time.Now().Add(ttl)
	token, err := s.config.Authority.MintOneTime(pki.OneTime{Profile: profile, Name: r.Name, Hosts: r.Hosts, TTL: ttl, Doors: []string{address}})
	if err != nil {
		return nil, err
	}
	return &admin.CreateStepTokenResponse{Token: token, Address: address, Expires: timestamppb.New(expires)}, nil
}
