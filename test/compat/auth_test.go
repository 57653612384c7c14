// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Hashes are as cheap as bcrypt lets them be: what they cost is not compared.
var cheap = []string{"--bcrypt-cost=4"}

// alikeWith is alike with flags for both sides.
func alikeWith(t *testing.T, flags []string, body func(*side)) {
	t.Parallel()
	want := etcdDoor.open(t, flags...)
	body(want)
	for _, d := range both {
		t.Run(d.name, func(t *testing.T) {
			got := d.open(t, flags...)
			body(got)
			compare(t, got.transcript, want.transcript)
		})
	}
}

func addUser(name, password string) *pb.AuthUserAddRequest {
	return &pb.AuthUserAddRequest{Name: name, Password: password}
}

func grant(role, key, end string, kind authpb.Permission_Type) *pb.AuthRoleGrantPermissionRequest {
	return &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)}}
}

// as takes a user's token for what follows; the password is the name.
func (s *side) as(name string) {
	s.Helper()
	s.token = ""
	r, granted := s.askFor(&pb.AuthenticateRequest{Name: name, Password: name}).(*pb.AuthenticateResponse)
	if !granted || r.Token == "" {
		s.Fatalf("%s: %s got no token", s.name, name)
	}
	s.token = r.Token
}

// staff makes root; alice, who reads and writes a to before b and only reads r
// and what follows; bob, who may do nothing; and host, who has no password. It
// goes on as root.
func (s *side) staff() {
	s.Helper()
	s.ask(
		addUser("root", "root"), &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, addUser("alice", "alice"), addUser("bob", "bob"),
		&pb.AuthUserAddRequest{Name: "host", Options: &authpb.UserAddOptions{NoPassword: true}},
		&pb.AuthRoleAddRequest{Name: "writer"}, &pb.AuthRoleAddRequest{Name: "reader"},
		grant("writer", "a", "b", authpb.Permission_READWRITE), grant("writer", "w", "", authpb.Permission_WRITE),
		grant("reader", "r", "\x00", authpb.Permission_READ),
		&pb.AuthUserGrantRoleRequest{User: "alice", Role: "writer"}, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "reader"},
		&pb.AuthEnableRequest{},
	)
	s.as("root")
}

func TestAuthManagement(t *testing.T) { alikeWith(t, cheap, authManagement) }

func authManagement(s *side) {
	status := &pb.AuthStatusRequest{}
	lists := []proto.Message{&pb.AuthUserListRequest{}, &pb.AuthRoleListRequest{}, status}
	s.ask(status, &pb.AuthDisableRequest{}, &pb.AuthEnableRequest{}, status, &pb.AuthenticateRequest{Name: "root", Password: "root"})
	s.ask(addUser("", ""), addUser("", "x"), addUser("root", "root"), addUser("root", "x"), addUser("empty", ""), addUser("long", strings.Repeat("x", 73)),
		&pb.AuthUserAddRequest{Name: "host", Password: "x", Options: &authpb.UserAddOptions{NoPassword: true}},
		&pb.AuthUserAddRequest{Name: "hashed", HashedPassword: "IyM="}, &pb.AuthEnableRequest{})
	s.ask(&pb.AuthUserGetRequest{}, &pb.AuthUserGetRequest{Name: "root"}, &pb.AuthUserGetRequest{Name: "none"}, &pb.AuthUserDeleteRequest{}, &pb.AuthUserDeleteRequest{Name: "none"})
	s.ask(&pb.AuthUserChangePasswordRequest{}, &pb.AuthUserChangePasswordRequest{Name: "none", Password: "x"}, &pb.AuthUserChangePasswordRequest{Name: "none", HashedPassword: "!"},
		&pb.AuthUserChangePasswordRequest{Name: "empty"}, &pb.AuthUserChangePasswordRequest{Name: "empty", HashedPassword: "!"}, &pb.AuthUserChangePasswordRequest{Name: "host", HashedPassword: "!"},
		&pb.AuthUserChangePasswordRequest{Name: "host", Password: "x"}, &pb.AuthUserChangePasswordRequest{Name: "empty", Password: strings.Repeat("x", 73)},
		&pb.AuthUserChangePasswordRequest{Name: "empty", Password: "x", HashedPassword: "!"})
	s.ask(lists...)
	s.ask(&pb.AuthRoleAddRequest{}, &pb.AuthRoleAddRequest{Name: "a"}, &pb.AuthRoleAddRequest{Name: "a"}, &pb.AuthRoleAddRequest{Name: "b"},
		&pb.AuthRoleGetRequest{}, &pb.AuthRoleGetRequest{Role: "root"}, &pb.AuthRoleGetRequest{Role: "a"}, &pb.AuthRoleDeleteRequest{}, &pb.AuthRoleDeleteRequest{Role: "none"},
		&pb.AuthRoleAddRequest{Name: "root"}, &pb.AuthRoleGetRequest{Role: "root"})
	for _, p := range [][2]string{{"", ""}, {"", "\x00"}, {"b", "a"}, {"a", "a"}, {"a", "\x00"}, {"\x00", "\x00"}, {"aa", ""}, {"k", "z"}, {"b", ""}, {"c", "\x00"}} {
		for _, kind := range []authpb.Permission_Type{authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE, 7} {
			s.ask(grant("a", p[0], p[1], kind))
		}
		s.ask(grant("none", p[0], p[1], authpb.Permission_READ), &pb.AuthRoleGetRequest{Role: "a"}, status)
	}
	s.ask(&pb.AuthRoleGrantPermissionRequest{Name: "a"}, &pb.AuthRoleGrantPermissionRequest{Name: "none"}, grant("b", "k", "", authpb.Permission_READ))
	s.ask(&pb.AuthRoleRevokePermissionRequest{}, &pb.AuthRoleRevokePermissionRequest{Role: "none"}, &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("k")},
		&pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("k"), RangeEnd: []byte("z")}, &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("k"), RangeEnd: []byte("z")}, &pb.AuthRoleGetRequest{Role: "a"})
	s.ask(&pb.AuthUserGrantRoleRequest{}, &pb.AuthUserGrantRoleRequest{User: "none", Role: "a"}, &pb.AuthUserGrantRoleRequest{User: "root", Role: "none"}, &pb.AuthUserGrantRoleRequest{User: "root", Role: "b"},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "a"}, status, &pb.AuthUserGrantRoleRequest{User: "root", Role: "a"}, status, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &pb.AuthUserGetRequest{Name: "root"})
	s.ask(&pb.AuthUserRevokeRoleRequest{}, &pb.AuthUserRevokeRoleRequest{Name: "none", Role: "a"}, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "none"}, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}, &pb.AuthEnableRequest{},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &pb.AuthRoleDeleteRequest{Role: "a"}, &pb.AuthUserGetRequest{Name: "root"}, &pb.AuthUserDeleteRequest{Name: "empty"})
	s.ask(lists...)
	s.ask(put("a", "1"), &pb.AuthEnableRequest{})
	s.as("root")
	s.ask(lists...)
	s.ask(&pb.AuthEnableRequest{}, status, &pb.AuthUserDeleteRequest{Name: "root"}, &pb.AuthRoleDeleteRequest{Role: "root"}, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"},
		&pb.AuthUserChangePasswordRequest{Name: "root", Password: "root"}, status)
	s.as("root")
	s.ask(&pb.AuthDisableRequest{}, &pb.AuthDisableRequest{}, status, put("a", "2"), &pb.AuthenticateRequest{Name: "root", Password: "root"})
	s.ask(&pb.AuthUserDeleteRequest{Name: "root"}, &pb.AuthRoleDeleteRequest{Role: "root"}, &pb.AuthEnableRequest{})
	s.ask(lists...)
}

// etcd looks at the first permission with the key only.
func TestAuthPermissionGrantedAgain(t *testing.T) {
	alikeWith(t, cheap, func(s *side) {
		s.ask(&pb.AuthRoleAddRequest{Name: "a"}, grant("a", "k", "", authpb.Permission_READ), grant("a", "k", "z", authpb.Permission_READWRITE))
		s.excused("a permission granted again", func() {
			s.ask(grant("a", "k", "z", authpb.Permission_READ), &pb.AuthRoleGetRequest{Role: "a"})
			s.transcript = append(s.transcript[:len(s.transcript)-2], s.transcript[len(s.transcript)-1])
		})
		s.ask(&pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("k"), RangeEnd: []byte("z")}, &pb.AuthRoleGetRequest{Role: "a"})
	})
}

// The right that etcd finds first decides, and that depends on the roles' names.
func TestAuthRangeTurnedRound(t *testing.T) {
	alikeWith(t, cheap, func(s *side) {
		s.staff()
		s.ask(&pb.AuthRoleAddRequest{Name: "one"}, grant("one", "c", "e", authpb.Permission_READ),
			&pb.AuthRoleAddRequest{Name: "two"}, grant("two", "b", "\x00", authpb.Permission_READ),
			&pb.AuthUserGrantRoleRequest{User: "bob", Role: "two"})
		s.as("bob")
		s.ask(get("z", "a"))
		s.as("root")
		s.ask(&pb.AuthUserGrantRoleRequest{User: "bob", Role: "one"})
		s.as("bob")
		s.excused("a range turned round", func() { s.ask(get("z", "a")) })
		s.ask(get("d", "a"), get("a", "\x00"), get("z", ""))
	})
}

func TestAuthLogin(t *testing.T) { alikeWith(t, cheap, logins) }

func logins(s *side) {
	s.staff()
	s.ask(&pb.AuthStatusRequest{})
	for _, r := range []*pb.AuthenticateRequest{{}, {Name: "root"}, {Name: "root", Password: "alice"}, {Name: "none", Password: "none"}, {Name: "host"}, {Name: "host", Password: "host"}, {Name: "alice", Password: "alice"}} {
		s.ask(r)
	}
	for _, token := range []string{"none", "a.b", "abcdefghijklmnop.1", "abcdefghijklmnop.1.1", "Bearer x", "."} {
		s.token = token
		s.ask(put("a", "1"), get("a", ""), &pb.RangeRequest{}, &pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthEnableRequest{}, &pb.LeaseGrantRequest{ID: 5, TTL: 100},
			&pb.CompactionRequest{Revision: 1}, &pb.MemberListRequest{}, &pb.AlarmRequest{}, &pb.AuthenticateRequest{Name: "bob", Password: "bob"})
	}
	// Tokens end with their password and their user.
	s.as("bob")
	bob := s.token
	s.as("root")
	root := s.token
	s.ask(&pb.AuthUserChangePasswordRequest{Name: "bob", Password: "new"})
	s.token = bob
	s.ask(get("a", ""), &pb.AuthenticateRequest{Name: "bob", Password: "bob"}, &pb.AuthenticateRequest{Name: "bob", Password: "new"})
	s.as("alice")
	alice := s.token
	s.ask(put("a", "1"))
	s.token = root
	s.ask(&pb.AuthUserDeleteRequest{Name: "alice"})
	s.token = alice
	s.ask(put("a", "1"))
	s.token = root
	s.ask(&pb.AuthDisableRequest{})
	s.token = ""
	s.ask(&pb.AuthEnableRequest{})
	s.token = root
	s.ask(put("a", "1"))
}

func TestAuthKeys(t *testing.T) { alikeWith(t, cheap, authKeys) }

func authKeys(s *side) {
	s.staff()
	s.ask(put("a", "1"), put("ab", "1"), put("b", "1"), put("w", "1"), put("r", "1"))
	windows := [][2]string{{"a", ""}, {"a", "b"}, {"a", "b\x00"}, {"a", "ab"}, {"ab", "b"}, {"a", "\x00"}, {"\x00", "\x00"}, {"b", "a"}, {"a", "a"}, {"b", ""}, {"r", ""}, {"r", "\x00"}, {"s", "\x00"}, {"q", "\x00"}, {"w", ""}, {"w", "\x00"}, {"z", "y"}, {"", ""}}
	for _, user := range []string{"alice", "bob", "root"} {
		s.as(user)
		for _, w := range windows {
			s.ask(get(w[0], w[1]), &pb.RangeRequest{Key: []byte(w[0]), RangeEnd: []byte(w[1]), Serializable: true, CountOnly: true},
				&pb.DeleteRangeRequest{Key: []byte(w[0]), RangeEnd: []byte(w[1])}, &pb.DeleteRangeRequest{Key: []byte(w[0]), RangeEnd: []byte(w[1]), PrevKv: true})
			s.askStream(get(w[0], w[1]))
			p := put(w[0], "2")
			s.ask(p, &pb.PutRequest{Key: p.Key, PrevKv: true}, &pb.PutRequest{Key: p.Key, IgnoreValue: true}, &pb.PutRequest{Key: p.Key, IgnoreLease: true, PrevKv: true})
		}
		s.ask(&pb.RangeRequest{Key: []byte("a"), Revision: 99}, &pb.RangeRequest{Key: []byte("b"), Revision: 99}, &pb.RangeRequest{Key: []byte("b"), SortOrder: 9})
	}
}

func TestAuthTransactions(t *testing.T) { alikeWith(t, cheap, authTransactions) }

func authTransactions(s *side) {
	s.staff()
	s.ask(put("a", "1"), put("b", "1"), put("w", "1"))
	ops := []*pb.RequestOp{op(put("a", "2")), op(put("b", "2")), op(get("a", "")), op(get("b", "")), op(get("a", "c")), op(put("w", "2")), op(get("w", "")),
		op(&pb.PutRequest{Key: []byte("w"), PrevKv: true}), op(del("a", "b")), op(del("a", "c")), op(&pb.DeleteRangeRequest{Key: []byte("w"), PrevKv: true}), op(del("w", ""))}
	for _, user := range []string{"alice", "bob", "root"} {
		s.as(user)
		for _, one := range ops {
			s.ask(&pb.TxnRequest{Success: []*pb.RequestOp{one}}, &pb.TxnRequest{Failure: []*pb.RequestOp{one}},
				&pb.TxnRequest{Success: []*pb.RequestOp{op(&pb.TxnRequest{Failure: []*pb.RequestOp{one}})}})
		}
		for _, key := range []string{"a", "b", "w"} {
			c := compared(key, "", pb.Compare_VERSION, pb.Compare_GREATER, 0)
			s.ask(&pb.TxnRequest{Compare: []*pb.Compare{c}}, &pb.TxnRequest{Success: []*pb.RequestOp{op(&pb.TxnRequest{Compare: []*pb.Compare{c}})}},
				&pb.TxnRequest{Compare: []*pb.Compare{compared("a", key+"\x00", pb.Compare_VERSION, pb.Compare_GREATER, 0)}, Success: []*pb.RequestOp{op(get("a", ""))}})
		}
		s.ask(&pb.TxnRequest{}, &pb.TxnRequest{Success: []*pb.RequestOp{{}}})
	}
}

func TestAuthLeases(t *testing.T) { alikeWith(t, cheap, authLeases) }

func authLeases(s *side) {
	s.staff()
	for id := range int64(5) {
		s.ask(&pb.LeaseGrantRequest{ID: id + 1, TTL: 1000})
	}
	leased := func(key string, lease int64) *pb.PutRequest {
		return &pb.PutRequest{Key: []byte(key), Lease: lease}
	}
	s.ask(leased("a", 1), leased("b", 2), leased("r", 3), leased("w", 4))
	for _, user := range []string{"alice", "bob", "root"} {
		s.as(user)
		s.ask(&pb.LeaseLeasesRequest{}, &pb.LeaseGrantRequest{ID: 50, TTL: 1000})
		for id := range int64(7) {
			s.ask(&pb.LeaseTimeToLiveRequest{ID: id}, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
			s.renew(id)
			s.ask(leased("ab", id), &pb.TxnRequest{Success: []*pb.RequestOp{op(leased("ab", id))}}, del("ab", ""))
		}
		for _, id := range []int64{1, 2, 5, 9} {
			s.ask(&pb.LeaseRevokeRequest{ID: id})
		}
	}
	s.token = "none"
	s.ask(&pb.LeaseLeasesRequest{}, &pb.LeaseTimeToLiveRequest{ID: 3}, &pb.LeaseRevokeRequest{ID: 3})
	s.renew(3)
}

// renew writes down one renewal on a stream of its own, which may end with it.
func (s *side) renew(id int64) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(s.bearing(ctx))
	if err != nil {
		s.Fatal(err)
	}
	r := &pb.LeaseKeepAliveRequest{ID: id}
	if err := stream.Send(r); err != nil && !errors.Is(err, io.EOF) { // it may be refused already, which Recv tells
		s.Fatal(err)
	}
	reply, err := stream.Recv()
	s.note(describe(r), outcome(r, reply, err))
}

func TestAuthWatches(t *testing.T) { alikeWith(t, cheap, authWatches) }

func authWatches(s *side) {
	s.staff()
	for _, user := range []string{"alice", "bob", "root", ""} {
		if s.token = "none"; user != "" {
			s.as(user)
		}
		for _, r := range []*pb.WatchCreateRequest{
			{Key: []byte("a")}, {Key: []byte("a"), RangeEnd: []byte("b")}, {Key: []byte("a"), RangeEnd: []byte("c")}, {Key: []byte("b")}, {},
			{Key: []byte("r"), RangeEnd: []byte{0}}, {Key: []byte("a"), RangeEnd: []byte{0}}, {Key: []byte("b"), StartRevision: -1}, {Key: []byte("w")}, {Key: []byte("b"), RangeEnd: []byte("a")},
		} {
			s.create(r)
		}
	}
}

// create writes down what a stream of its own answers to a creation.
func (s *side) create(r *pb.WatchCreateRequest) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := pb.NewWatchClient(s.conn).Watch(s.bearing(ctx))
	if err != nil {
		s.Fatal(err)
	}
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) { // as in renew
		s.Fatal(err)
	}
	reply, err := stream.Recv()
	s.note(describe(request), outcome(request, reply, err))
}

// administration is what needs the role root or at least a name.
func administration() []proto.Message {
	return []proto.Message{
		&pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthRoleListRequest{}, &pb.AuthUserGetRequest{}, &pb.AuthUserGetRequest{Name: "alice"}, &pb.AuthUserGetRequest{Name: "root"}, &pb.AuthUserGetRequest{Name: "none"},
		&pb.AuthRoleGetRequest{}, &pb.AuthRoleGetRequest{Role: "writer"}, &pb.AuthRoleGetRequest{Role: "root"}, &pb.AuthRoleGetRequest{Role: "none"},
		addUser("new", "new"), addUser("", ""), &pb.AuthUserChangePasswordRequest{Name: "new", Password: "x"}, &pb.AuthUserGrantRoleRequest{User: "new", Role: "writer"}, &pb.AuthUserRevokeRoleRequest{Name: "new", Role: "writer"},
		&pb.AuthUserDeleteRequest{Name: "new"}, &pb.AuthRoleAddRequest{Name: "new"}, grant("new", "n", "", authpb.Permission_READ), &pb.AuthRoleRevokePermissionRequest{Role: "new", Key: []byte("n")},
		&pb.AuthRoleDeleteRequest{Role: "new"}, &pb.AuthEnableRequest{}, put("a", "1"), &pb.CompactionRequest{Revision: 99}, &pb.HashKVRequest{Revision: 99}, &pb.MoveLeaderRequest{TargetID: 9},
		&pb.MemberAddRequest{PeerURLs: []string{"bad"}}, &pb.MemberRemoveRequest{ID: 9}, &pb.MemberPromoteRequest{ID: 9},
	}
}

// named is what answers all who have a name, with what differs between servers.
func named() []proto.Message {
	return []proto.Message{&pb.StatusRequest{}, &pb.MemberListRequest{}, &pb.MemberListRequest{Linearizable: true}, &pb.AlarmRequest{}, &pb.DefragmentRequest{}}
}

func TestAuthAdministration(t *testing.T) { alikeWith(t, cheap, authAdministration) }

func authAdministration(s *side) {
	s.staff()
	for _, user := range []string{"bob", "alice", "root"} {
		s.as(user)
		s.ask(administration()...)
		s.refuses(named()...)
	}
}

// refuses writes down only whether a request is refused, and how.
func (s *side) refuses(requests ...proto.Message) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for _, r := range requests {
		_, err := call(s.bearing(ctx), s.conn, r)
		s.note(describe(r), refusal(err))
	}
}

func TestAuthGateway(t *testing.T) { alikeWith(t, cheap, authGateway) }

func authGateway(s *side) {
	s.staff()
	s.post("/v3/auth/authenticate", `{"name":"root","password":"wrong"}`, `{}`)
	s.bearer = s.token
	s.post("/v3/auth/status", `{}`)
	s.post("/v3/auth/user/list", `{}`)
	s.post("/v3/auth/user/get", `{"name":"alice"}`, `{"name":"none"}`)
	s.post("/v3/auth/role/list", `{}`)
	s.post("/v3/auth/role/get", `{"role":"writer"}`, `{"role":"root"}`)
	s.post("/v3/auth/user/add", `{"name":"new","password":"new"}`, `{"name":"new"}`, `{"name":"free","options":{"no_password":true}}`)
	s.post("/v3/auth/user/grant", `{"user":"new","role":"writer"}`, `{"user":"new","role":"none"}`)
	s.post("/v3/auth/user/revoke", `{"name":"new","role":"writer"}`)
	s.post("/v3/auth/user/changepw", `{"name":"new","password":"x"}`)
	s.post("/v3/auth/user/delete", `{"name":"new"}`)
	s.post("/v3/auth/role/add", `{"name":"new"}`)
	s.post("/v3/auth/role/grant", `{"name":"new","perm":{"permType":"READWRITE","key":"@n"}}`)
	s.post("/v3/auth/role/revoke", `{"role":"new","key":"@n"}`)
	s.post("/v3/auth/role/delete", `{"role":"new"}`)
	s.post("/v3/kv/put", `{"key":"@b","value":"@1"}`)
	s.as("alice")
	for _, bearer := range []string{s.token, "Bearer " + s.token, "none"} {
		s.bearer = bearer
		s.post("/v3/kv/put", `{"key":"@a","value":"@1"}`, `{"key":"@b","value":"@1"}`)
		s.post("/v3/kv/range", `{"key":"@a"}`, `{"key":"@b"}`)
		s.post("/v3/auth/user/list", `{}`)
		s.post("/v3/lease/grant", `{"ID":"7","TTL":"100"}`)
		s.post("/v3/lease/keepalive", `{"ID":"7"}`)
		s.post("/v3/auth/enable", `{}`)
	}
	s.as("root")
	s.bearer = "Bearer " + s.token
	s.post("/v3/auth/disable", `{}`)
}

// A JWT carries the revision of the rules it was made by.
func TestAuthJWT(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a secret of the members"), 0o600); err != nil {
		t.Fatal(err)
	}
	alikeWith(t, append([]string{"--auth-token=jwt,sign-method=HS256,ttl=10m,priv-key=" + key}, cheap...), func(s *side) {
		s.staff()
		root := s.token
		s.as("alice")
		s.ask(put("a", "1"), put("b", "1"), get("a", ""))
		alice := s.token
		s.token = root
		s.ask(&pb.AuthRoleAddRequest{Name: "new"})
		for _, token := range []string{alice, root} {
			s.token = token
			s.ask(put("a", "1"), get("a", ""), &pb.TxnRequest{}, &pb.TxnRequest{Success: []*pb.RequestOp{op(get("a", ""))}}, del("a", ""), &pb.LeaseGrantRequest{ID: 7, TTL: 100}, &pb.LeaseRevokeRequest{ID: 7},
				&pb.AuthUserGetRequest{Name: "alice"}, &pb.AuthUserListRequest{}, &pb.AuthStatusRequest{}, &pb.CompactionRequest{Revision: 99})
			s.create(&pb.WatchCreateRequest{Key: []byte("a")})
		}
		s.as("alice")
		s.ask(put("a", "1"))
		s.token += "x"
		s.ask(put("a", "1"))
		s.token = "none"
		s.ask(put("a", "1"), &pb.AuthStatusRequest{})
	})
}

// etcd's client logs in by itself, and again when what it has is too old.
func TestAuthClient(t *testing.T) { alikeWith(t, cheap, authClient) }

func authClient(s *side) {
	s.staff()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	s.user = "root"
	root := s.client()
	s.user = "alice"
	alice := s.client()
	for i, step := range []func() error{
		func() error { _, err := alice.Put(ctx, "a", "1"); return err },
		func() error { _, err := alice.Put(ctx, "b", "1"); return err },
		func() error { _, err := root.RoleGrantPermission(ctx, "writer", "b", "c", 2); return err },
		func() error { _, err := alice.Put(ctx, "b", "1"); return err },
		func() error { _, err := root.UserChangePassword(ctx, "alice", "alice"); return err }, // which ends her token
		func() error { _, err := alice.Put(ctx, "b", "1"); return err },
		func() error { _, err := alice.Get(ctx, "b"); return err },
		func() error { _, err := alice.Compact(ctx, 2); return err },
		func() error { _, err := root.UserDelete(ctx, "alice"); return err },
		func() error { _, err := alice.Get(ctx, "b"); return err },
		func() error { _, err := root.AuthDisable(ctx); return err },
		func() error { _, err := alice.Get(ctx, "b"); return err },
	} {
		s.told(fmt.Sprint("step ", i), nil, step())
	}
}
