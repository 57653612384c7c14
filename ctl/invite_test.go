// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// gate answers as the part of a member's Admin service that lets others in.
type gate struct {
	office
	invited *admin.InviteRequest
	joined  *admin.JoinRequest
	joins   int
	tokens  []*admin.Token
	looks   int // that it takes until the member has caught up
	fail    error
}

func (g *gate) Invite(_ context.Context, r *admin.InviteRequest) (*admin.InviteResponse, error) {
	g.invited = r
	return &admin.InviteResponse{
		Token: "cleat1.digest.secret", Address: "[fd00::1]:2380",
		Info: &admin.Token{Id: "0123456789abcdef0123", UsesLeft: r.GetUses(), Expires: timestamppb.New(time.Unix(0, 0))},
	}, g.fail
}

func (g *gate) ListTokens(context.Context, *admin.ListTokensRequest) (*admin.ListTokensResponse, error) {
	return &admin.ListTokensResponse{Tokens: g.tokens}, g.fail
}

func (g *gate) RevokeToken(_ context.Context, r *admin.RevokeTokenRequest) (*admin.RevokeTokenResponse, error) {
	return &admin.RevokeTokenResponse{Token: &admin.Token{Id: r.GetToken() + "456789abcdef"}}, g.fail
}

func (g *gate) Join(_ context.Context, r *admin.JoinRequest) (*admin.JoinResponse, error) {
	g.joined = r
	g.joins++
	g.status = &admin.StatusResponse{MemberId: 0xa2, Raft: &admin.Raft{Leader: 1, Learner: true, Applied: 5}, Members: []*admin.MemberStatus{
		{Id: 1, Status: &admin.StatusResponse{Raft: &admin.Raft{Commit: 7}}}, {Id: 0xa2, LearnerForGood: r.GetDiscard()},
	}}
	return &admin.JoinResponse{ClusterId: 0xc1, MemberId: 0xa2, Learner: r.GetDiscard()}, g.fail
}

// Status tells of a member that has not caught up before it was looked at often
// enough, and does not answer at first.
func (g *gate) Status(ctx context.Context, r *admin.StatusRequest) (*admin.StatusResponse, error) {
	g.looks--
	if g.looks > 1 {
		return nil, status.Error(codes.Unavailable, "it begins anew")
	}
	if g.looks < 0 {
		g.status.Raft.Applied, g.status.Raft.Learner = 7, g.joined.GetDiscard()
	}
	return g.office.Status(ctx, r)
}

func TestInvitePrintsOneLineToType(t *testing.T) {
	g := &gate{}
	socket := g.serve(t, g)
	code, stdout, stderr := cleatctl(t, "invite", "--uses", "2", "--ttl=90s", "--learner", "--socket", socket)
	if code != exitDone || stdout != "cleatctl join --token cleat1.digest.secret [fd00::1]:2380\n" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if want := "cleatctl: good for 2 machines until 1970-01-01T00:00:00Z; the token is a secret: cleatctl token revoke 0123456789ab ends it\n"; stderr != want {
		t.Errorf("stderr is %q, want %q", stderr, want)
	}
	if want := (&admin.InviteRequest{Learner: true, TtlSeconds: 90, Uses: 2}); !proto.Equal(g.invited, want) {
		t.Errorf("asked for %v, want %v", g.invited, want)
	}
	code, stdout, _ = cleatctl(t, "invite", "--member", "8211f1d0f64f3269", "-w=json", "--socket", socket)
	if want := (&admin.InviteRequest{TtlSeconds: 3600, Uses: 1, Member: 0x8211f1d0f64f3269}); code != exitDone || !proto.Equal(g.invited, want) {
		t.Errorf("asked for %v, want %v", g.invited, want)
	}
	if !strings.HasPrefix(stdout, `{"token":"cleat1.digest.secret","address":"[fd00::1]:2380",`) {
		t.Errorf("JSON: %s", stdout)
	}
}

func TestTokensAreShownAndRevoked(t *testing.T) {
	then := timestamppb.New(time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC))
	past := timestamppb.New(time.Unix(0, 0))
	g := &gate{tokens: []*admin.Token{
		{Id: "0123456789abcdef", CreatedBy: "one", Expires: then, UsesLeft: 2, Joined: []uint64{0xa, 0xb}},
		{Id: "1", CreatedBy: "two", Expires: then, UsesLeft: 1, Learner: true, Member: 0xc, Revoked: past},
		{Id: "2", Expires: then},
		{Id: "3", Expires: past, UsesLeft: 1},
		{Id: "4", CreatedBy: "one", Expires: then, UsesLeft: 1, Client: "alice"},
	}}
	socket := g.serve(t, g)
	want := `0123456789ab, good, voter, 2, 2100-01-02T03:04:05Z, one, , a b
1, revoked, learner, 1, 2100-01-02T03:04:05Z, two, c, 
2, used up, voter, 0, 2100-01-02T03:04:05Z, , , 
3, expired, voter, 1, 1970-01-01T00:00:00Z, , , 
4, good, client, 1, 2100-01-02T03:04:05Z, one, alice, 
`
	if _, stdout, stderr := cleatctl(t, "token", "list", "--socket", socket); stdout != want {
		t.Errorf("got\n%s%s\nwant\n%s", stdout, stderr, want)
	}
	if _, stdout, _ := cleatctl(t, "token", "list", "-w", "table", "--socket", socket); strings.Count(stdout, "\n") != 9 || !strings.Contains(stdout, "│ 0123456789ab │") {
		t.Errorf("table:\n%s", stdout)
	}
	if _, stdout, stderr := cleatctl(t, "token", "revoke", "0123", "--socket", socket); stdout != "token 0123456789ab revoked\n" {
		t.Errorf("%q, %q", stdout, stderr)
	}
}

func TestJoinAsksThisMachinesMember(t *testing.T) {
	g := &gate{}
	socket := g.serve(t, g)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" cleat1.x.y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line []string
		want *admin.JoinRequest
		said string
	}{
		{[]string{"--token", "cleat1.x.y", "10.0.0.1"}, &admin.JoinRequest{Address: "10.0.0.1:2380"}, "a voter as soon as it has caught up"},
		{[]string{"--token-file", file, "[fd00::1]:77", "--advertise=fd00::2"}, &admin.JoinRequest{Address: "[fd00::1]:77", Advertise: "fd00::2"}, "a voter as soon as it has caught up"},
		{[]string{"--token-file", file, "fd00::1", "--advertise=[fd00::2]"}, &admin.JoinRequest{Address: "[fd00::1]:2380", Advertise: "fd00::2"}, "a voter as soon as it has caught up"},
		{[]string{"--token=cleat1.x.y", "https://one:1", "--advertise", "two", "--discard"}, &admin.JoinRequest{Address: "one:1", Advertise: "two", Discard: true}, "a learner, which never votes"},
	} {
		g.looks = 3
		code, stdout, stderr := cleatctl(t, append([]string{"join", "--socket", socket}, c.line...)...)
		end := "It has caught up, and votes\n"
		if c.want.Discard {
			end = "It has caught up, and has no vote\n"
		}
		if want := "Member a2 joined cluster c1: it is " + c.said + "\n" + end; code != exitDone || stdout != want {
			t.Errorf("%q: exit code %d, %q, %q", c.line, code, stdout, stderr)
		}
		if c.want.Token = "cleat1.x.y"; !proto.Equal(g.joined, c.want) {
			t.Errorf("%q: asked for %v, want %v", c.line, g.joined, c.want)
		}
	}
	if _, stdout, _ := cleatctl(t, "join", "--token", "t", "h", "-w", "json", "--socket", socket); stdout != `{"caughtUp":true,"clusterId":"193","memberId":"162"}`+"\n" {
		t.Errorf("JSON: %s", stdout)
	}
	g.looks = 1 << 30
	if code, stdout, stderr := cleatctl(t, "join", "--token", "t", "h", "--no-wait", "--socket", socket); code != exitDone || strings.Count(stdout, "\n") != 1 {
		t.Errorf("without waiting: exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr := cleatctl(t, "join", "--token", "t", "h", "--command-timeout=200ms", "--json", "--socket", socket)
	if code != exitFailed || stdout != `{"caughtUp":false,"clusterId":"193","memberId":"162"}`+"\n" || !strings.Contains(stderr, "has joined, and has not caught up in time (") {
		t.Errorf("without patience: exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestALineThatCannotLetAnyoneInIsNotSent(t *testing.T) {
	for line, want := range map[string]string{
		"invite here":                             "takes no argument",
		"invite --uses 0":                         "--uses 0",
		"invite --ttl 1ms":                        "no time to join in",
		"invite --member zz":                      "no member's ID",
		"invite --member 0":                       "no member's ID",
		"invite --member a --uses 2":              "one machine",
		"invite --endpoints=h:1":                  "speaks to the socket only",
		"join --token t":                          "join needs HOST",
		"join h":                                  "needs --token TOKEN or --token-file FILE",
		"join --token t --token-file f h":         "exclude each other",
		"join --token t h:0":                      "no port",
		"join --token t :2380":                    "there is no host in it",
		"join --token t a:b:c":                    "cannot be told apart",
		"join --token t --advertise https://x h":  "--advertise",
		"join --token t --advertise x:2380 h":     "listen-peer",
		"token revoke":                            "needs one ID",
		"token list all":                          "takes no argument",
		"member add one":                          "needs --peer-urls",
		"member add --peer-urls=https://h":        "needs NAME",
		"member update a":                         "needs --peer-urls",
		"member remove one --peer-urls=https://h": "not one of",
		"member remove one":                       "hexadecimal",
		"member promote":                          "needs one member ID",
		"member list --consistency=x":             "linearizable",
		"move-leader":                             "needs one member ID",
		"move-leader a -w table":                  "no form",
	} {
		code, stdout, stderr := cleatctl(t, append(strings.Fields(line), "--socket=/nonexistent")...)
		if strings.Contains(line, "--endpoints") {
			code, stdout, stderr = cleatctl(t, strings.Fields(line)...)
		}
		if code != exitMisused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", line, code, stderr)
		}
	}
}

// The texts are the sentinels' of package pki, which travel as text.
func TestEachReasonNotToJoinSaysWhatToDo(t *testing.T) {
	g := &gate{}
	socket := g.serve(t, g)
	for _, c := range []struct {
		code codes.Code
		text string
		want string
	}{
		{codes.InvalidArgument, pki.ErrTokenFormat.Error(), "type the whole line"},
		{codes.FailedPrecondition, pki.ErrTokenDigest.Error(), "compare HOST with the line"},
		{codes.NotFound, pki.ErrTokenUnknown.Error(), "cleatctl invite on a member"},
		{codes.PermissionDenied, pki.ErrTokenExpired.Error(), "cleatctl invite on a member"},
		{codes.PermissionDenied, pki.ErrTokenUsed.Error(), "--uses N"},
		{codes.PermissionDenied, pki.ErrTokenRevoked.Error(), "cleatctl invite on a member"},
		{codes.FailedPrecondition, pki.ErrClock.Error(), "set this machine's clock"},
		{codes.Unavailable, "reach h:2380: connection refused; is cleatd there?", "cleatctl: join the cluster at h:2380: reach h:2380: connection refused; is cleatd there?\n"},
		{codes.DeadlineExceeded, "x", "to join again with the same line is safe"},
		{codes.Unimplemented, "x", "older version"},
		{codes.FailedPrecondition, "the name one is taken: give this machine another", "cleatctl: join the cluster at h:2380: the name one is taken: give this machine another\n"},
	} {
		g.fail, g.joins = status.Error(c.code, c.text), 0
		code, stdout, stderr := cleatctl(t, "join", "--token", "t", "h", "--socket", socket)
		if code != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "pki:") {
			t.Errorf("%s: exit code %d, %q, want %q", c.text, code, stderr, c.want)
		}
		if g.joins != 1 {
			t.Errorf("%s: asked %d times", c.text, g.joins)
		}
	}
}
