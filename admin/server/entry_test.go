// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// serveEntry opens a peer door with nothing behind it but the entry, and
// returns its address. What admissible returns is read at each call.
func serveEntry(t *testing.T, a *pki.Authority, admissible *error) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.PeerDoor())
	if err != nil {
		t.Fatal(err)
	}
	check := func(context.Context, *admin.AdmitRequest, pki.TokenInfo) error { return *admissible }
	door := grpc.NewServer()
	NewEntry(a, check, slog.New(slog.NewTextHandler(t.Output(), nil))).Register(door)
	ended := make(chan error, 1)
	go func() { ended <- door.Serve(l) }()
	t.Cleanup(func() {
		door.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func joining(t *testing.T, text string) *pki.Joining {
	t.Helper()
	token, err := pki.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	j, err := pki.Join(filepath.Join(t.TempDir(), "pki"), token)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// enter knocks and asks; change may spoil the request.
func enter(t *testing.T, address string, j *pki.Joining, change func(*pki.JoinRequest)) (pki.Admission, error) {
	t.Helper()
	conn, err := Knock(t.Context(), address, j)
	if err != nil {
		return pki.Admission{}, err
	}
	r, err := j.Request("blue", nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&r)
	}
	return AskIn(t.Context(), conn, r, 1)
}

func TestOneTokenMakesAMachineAMember(t *testing.T) {
	s := start(t)
	var objection error
	*s.address = serveEntry(t, s.authority, &objection)
	invited, err := s.client.Invite(t.Context(), &admin.InviteRequest{Learner: true, TtlSeconds: 60, Member: 0x99})
	if err != nil {
		t.Fatal(err)
	}
	if invited.Address != *s.address || !invited.Info.Learner || invited.Info.UsesLeft != 1 || invited.Info.CreatedBy != "green" {
		t.Errorf("invited: %v", invited)
	}
	j := joining(t, invited.Token)
	m, err := enter(t, invited.Address, j, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.ClusterID != 7 || m.MemberID != 0x99 || m.Role != pki.RoleLearner {
		t.Errorf("admitted as %s %x of %x", m.Role, m.MemberID, m.ClusterID)
	}
	if err := j.Accept(m); err != nil {
		t.Fatal(err)
	}
	list, err := s.client.ListTokens(t.Context(), &admin.ListTokensRequest{})
	if err != nil || len(list.Tokens) != 1 || list.Tokens[0].UsesLeft != 0 || list.Tokens[0].Joined[0] != 0x99 || list.Tokens[0].Revoked != nil {
		t.Errorf("listed: %v, %v", list, err)
	}
}

func TestEachReasonNotToAdmitIsTold(t *testing.T) {
	s := start(t)
	var objection error
	*s.address = serveEntry(t, s.authority, &objection)
	invite := func(r *admin.InviteRequest) string {
		reply, err := s.client.Invite(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return reply.Token
	}
	good, used, revoked := invite(&admin.InviteRequest{}), invite(&admin.InviteRequest{}), invite(&admin.InviteRequest{})
	if _, err := enter(t, *s.address, joining(t, used), nil); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.client.RevokeToken(t.Context(), &admin.RevokeTokenRequest{Token: revoked}); err != nil || reply.Token.Revoked == nil {
		t.Fatal(reply, err)
	}
	objection = status.Error(codes.AlreadyExists, "the name is taken")
	for name, test := range map[string]struct {
		token  string
		change func(*pki.JoinRequest)
		want   codes.Code
		text   string
	}{
		"used up":      {used, nil, codes.PermissionDenied, "used up"},
		"revoked":      {revoked, nil, codes.PermissionDenied, "revoked"},
		"unknown":      {good[:51] + strings.Repeat("A", 43), nil, codes.NotFound, "unknown"},
		"a wrong time": {good, func(r *pki.JoinRequest) { r.Time = r.Time.Add(time.Hour) }, codes.FailedPrecondition, "set the clocks"},
		"no name":      {good, func(r *pki.JoinRequest) { r.Name = "" }, codes.InvalidArgument, "host name"},
		"a name taken": {good, nil, codes.AlreadyExists, "the name is taken"},
	} {
		_, err := enter(t, *s.address, joining(t, test.token), test.change)
		if status.Code(err) != test.want || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, test.want, test.text)
		}
	}
	objection = nil
	if _, err := enter(t, *s.address, joining(t, good), nil); err != nil {
		t.Errorf("after all that the token is no good: %v", err)
	}
}

func TestKnockTellsWhoIsNotThere(t *testing.T) {
	s, stranger := start(t), start(t)
	var objection error
	*s.address = serveEntry(t, s.authority, &objection)
	elsewhere := serveEntry(t, stranger.authority, &objection)
	invited, err := s.client.Invite(t.Context(), &admin.InviteRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t, elsewhere, joining(t, invited.Token), nil); !errors.Is(err, pki.ErrTokenDigest) {
		t.Errorf("another cluster: %v, want ErrTokenDigest", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t, l.Addr().String(), joining(t, invited.Token), nil); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("nobody: %v, want the address", err)
	}
}

func TestInviteAndRevokeRefuse(t *testing.T) {
	s := start(t)
	if _, err := s.client.Invite(t.Context(), &admin.InviteRequest{}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--advertise") {
		t.Errorf("without an address: %v", err)
	}
	*s.address = "127.0.0.1:1"
	for name, r := range map[string]*admin.InviteRequest{
		"a negative life":       {TtlSeconds: -1},
		"a life that overflows": {TtlSeconds: 1 << 62},
		"negative uses":         {Uses: -1},
		"one id for two":        {Uses: 2, Member: 3},
	} {
		if _, err := s.client.Invite(t.Context(), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
	if _, err := s.client.RevokeToken(t.Context(), &admin.RevokeTokenRequest{Token: "0123"}); status.Code(err) != codes.NotFound {
		t.Errorf("%v, want NotFound", err)
	}
	s.ledger.fail(errors.New("the disk is on fire"))
	if _, err := s.client.ListTokens(t.Context(), &admin.ListTokensRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("%v, want Internal", err)
	}
}
