// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// desk makes tokens, and users with roles.
type desk struct {
	office
	pb.UnimplementedAuthServer
	asked   *admin.CreateTokenRequest
	address string
	fail    error
	roles   []string
	users   []string
	steps   []string
	count   bool // users do
}

func (d *desk) CreateToken(_ context.Context, r *admin.CreateTokenRequest) (*admin.CreateTokenResponse, error) {
	d.asked, d.steps = r, append(d.steps, "token")
	return &admin.CreateTokenResponse{Token: "cleat1.digest.secret", Address: d.address, Info: &admin.Token{
		Id: "0123456789abcdef0123", Client: r.GetClient(), UsesLeft: r.GetUses(), Expires: timestamppb.New(time.Unix(0, 0)),
	}}, d.fail
}

func (d *desk) RoleGet(_ context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	if !slices.Contains(d.roles, r.GetRole()) {
		return nil, rpctypes.ErrGRPCRoleNotFound
	}
	return &pb.AuthRoleGetResponse{Perm: []*authpb.Permission{}}, nil
}

func (d *desk) UserAdd(_ context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	if slices.Contains(d.users, r.GetName()) {
		return nil, rpctypes.ErrGRPCUserAlreadyExist
	}
	if !r.GetOptions().GetNoPassword() {
		return nil, status.Error(codes.InvalidArgument, "with a password")
	}
	d.users, d.steps = append(d.users, r.GetName()), append(d.steps, "user "+r.GetName())
	return &pb.AuthUserAddResponse{}, nil
}

func (d *desk) UserGrantRole(_ context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	d.steps = append(d.steps, r.GetUser()+" is "+r.GetRole())
	return &pb.AuthUserGrantRoleResponse{}, nil
}

func (d *desk) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Enabled: d.count}, nil
}

func (d *desk) start(t *testing.T) string {
	t.Helper()
	return d.serve(t, d, func(r grpc.ServiceRegistrar) { pb.RegisterAuthServer(r, d) })
}

func TestTokenCreatePrintsOneLineToType(t *testing.T) {
	d := &desk{address: "[fd00::1]:2381"}
	socket := d.start(t)
	code, stdout, stderr := cleatctl(t, "token", "create", "--client", "alice", "--ttl=90s", "--uses", "3", "--cert-ttl=2h", "--socket", socket)
	if code != exitDone || stdout != "cleatctl login --token cleat1.digest.secret [fd00::1]:2381\n" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if want := "cleatctl: good for 3 logins of user alice until 1970-01-01T00:00:00Z; the token is a secret: cleatctl token revoke 0123456789ab ends it\n"; stderr != want {
		t.Errorf("stderr is %q, want %q", stderr, want)
	}
	if want := (&admin.CreateTokenRequest{Client: "alice", TtlSeconds: 90, Uses: 3, CertTtlSeconds: 7200}); !proto.Equal(d.asked, want) {
		t.Errorf("asked for %v, want %v", d.asked, want)
	}
	d.address = ""
	code, stdout, stderr = cleatctl(t, "token", "create", "--client", "bob", "--socket", socket)
	if code != exitDone || stdout != "cleatctl login --token cleat1.digest.secret HOST:2381\n" || !strings.Contains(stderr, "this member has no ca door (listen-ca)") {
		t.Errorf("without a ca door: %d, %q, %q", code, stdout, stderr)
	}
	if want := (&admin.CreateTokenRequest{Client: "bob", TtlSeconds: 3600, Uses: 1}); !proto.Equal(d.asked, want) {
		t.Errorf("asked for %v, want %v", d.asked, want)
	}
}

func TestTokenCreateMakesTheUserWithItsRoleFirst(t *testing.T) {
	d := &desk{roles: []string{"reader"}, users: []string{"old"}, address: "h:1"}
	socket := d.start(t)
	for _, c := range []struct {
		line  string
		code  int
		steps string
		said  string
	}{
		{"--client new --role reader", exitDone, "user new,new is reader,token", "users do not count yet, so new may do everything: cleatctl auth enable"},
		{"--client old --role reader", exitDone, "old is reader,token", "users do not count yet"},
		{"--client new2 --role writer", exitFailed, "", "nothing was made: role writer: "},
	} {
		d.steps = nil
		code, stdout, stderr := cleatctl(t, append(strings.Fields("token create --socket "+socket), strings.Fields(c.line)...)...)
		if code != c.code || strings.Join(d.steps, ",") != c.steps || !strings.Contains(stderr, c.said) || (stdout != "") != (code == exitDone) {
			t.Errorf("%s: exit code %d, steps %q, %q, %q", c.line, code, d.steps, stdout, stderr)
		}
		if code == exitFailed && !strings.Contains(stderr, "cleatctl role list shows the roles") {
			t.Errorf("%s: no advice in %q", c.line, stderr)
		}
	}
	d.count = true
	if _, _, stderr := cleatctl(t, "token", "create", "--client=new", "--role=reader", "--socket", socket); strings.Contains(stderr, "do not count") {
		t.Errorf("users count: %q", stderr)
	}
}

func TestATokenNobodyCouldUseIsNotAskedFor(t *testing.T) {
	for line, want := range map[string]string{
		"token create":                                     "needs --client NAME",
		"token create alice":                               "takes no argument",
		"token create --client member/1":                   "no name for a user",
		"token create --client " + strings.Repeat("x", 65): "no name for a user",
		"token create --client a --ttl 1ms":                "no time to log in",
		"token create --client a --uses 0":                 "--uses 0",
		"token create --client a --cert-ttl 1ms":           "no life for a certificate",
		"token create --client a --endpoints=h:1":          "speaks to the socket only",
		"login":                            "login needs HOST",
		"login h":                          "login needs --token TOKEN or --token-file FILE, from cleatctl token create",
		"login --token t --token-file f h": "exclude each other",
		"login --token t a:b:c":            "cannot be told apart",
		"login --token t h --context ../x": "not a name for a context",
	} {
		code, stdout, stderr := cleatctl(t, strings.Fields(line)...)
		if code != exitMisused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", line, code, stderr)
		}
	}
}
