// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/state"
)

// staff makes root and alice, whose passwords are their names and who may read
// and write a to before b, and enables the rules.
func (s *testServer) staff(t testing.TB) {
	t.Helper()
	c, ctx := s.client(t), t.Context()
	_, e1 := c.UserAdd(ctx, "root", "root")
	_, e2 := c.UserGrantRole(ctx, "root", "root")
	_, e3 := c.UserAdd(ctx, "alice", "alice")
	_, e4 := c.RoleAdd(ctx, "writer")
	_, e5 := c.RoleGrantPermission(ctx, "writer", "a", "b", 2)
	_, e6 := c.UserGrantRole(ctx, "alice", "writer")
	_, e7 := c.AuthEnable(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		t.Fatal(err)
	}
}

func logIn(t testing.TB, conn *grpc.ClientConn, name string) string {
	t.Helper()
	r, err := pb.NewAuthClient(conn).Authenticate(t.Context(), &pb.AuthenticateRequest{Name: name, Password: name})
	if err != nil {
		t.Fatal(err)
	}
	return r.Token
}

func bearing(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "token", token)
}

func putOf(ctx context.Context, conn *grpc.ClientConn, key string) error {
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key)})
	return err
}

func wantStatus(t testing.TB, what string, got, want error) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The administrator at the socket needs no user and loses no right; with a
// token it is who the token says.
func TestTheSocketIsTheAdministratorsUnlessATokenIsShown(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	conn := s.dial(t)
	wantStatus(t, "without a token", putOf(t.Context(), conn, "b"), nil)
	alice := bearing(t.Context(), logIn(t, conn, "alice"))
	wantStatus(t, "alice, hers", putOf(alice, conn, "a"), nil)
	wantStatus(t, "alice, another's", putOf(alice, conn, "b"), rpctypes.ErrGRPCPermissionDenied)
	wantStatus(t, "a token of nobody", putOf(bearing(t.Context(), "x.1"), conn, "a"), rpctypes.ErrGRPCInvalidAuthToken)
	if code, body := s.post(t, "/v3/auth/user/list", `{}`); code != 200 || !strings.Contains(body, "alice") {
		t.Errorf("through the gateway: %d %s", code, body)
	}
	if code, _ := s.get(t, "/health"); code != 200 {
		t.Errorf("health: %d", code)
	}
}

// At the TLS door a certificate is its user, also through the gateway, which
// brings its caller's own. A token beats it.
func TestACertificateIsItsUser(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, nil)
	address := startTLS(t, s, ours.serverConfig(t))
	s.staff(t)
	token := logIn(t, s.dial(t), "root")
	for name, want := range map[string]struct{ hers, others, admin error }{
		"alice":   {nil, rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
		"root":    {nil, nil, nil},
		"mallory": {rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCUserNotFound},
	} {
		config := ours.clientConfig(ours.issue(t, name, time.Now().Add(time.Hour)))
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wantStatus(t, name+" puts a", putOf(t.Context(), conn, "a"), want.hers)
		wantStatus(t, name+" puts b", putOf(t.Context(), conn, "b"), want.others)
		_, err = pb.NewAuthClient(conn).UserList(t.Context(), &pb.AuthUserListRequest{})
		wantStatus(t, name+" lists users", err, want.admin)
		wantStatus(t, name+" with root's token", putOf(bearing(t.Context(), token), conn, "b"), nil)

		web := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer web.CloseIdleConnections()
		reply, err := web.Post("https://"+address+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"Yg=="}`))
		if code, body := answer(t, reply, err); (code == 200) != (want.others == nil) {
			t.Errorf("%s puts b through the gateway: %d %s", name, code, body)
		}
	}
}

// A client may come to a member that has not applied its login yet.
func TestATokenOfALaterEntryIsWaitedFor(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	letters, digest := auth.NewToken()
	index := s.config.Machine.AppliedIndex() + 1
	ctx := bearing(t.Context(), auth.TokenText(letters, index))
	revision := s.config.Machine.Rules().Revision
	s.node.fail(nodeFaults{hold: func(context.Context) error { // a sync brings what the leader has
		s.node.fail(nodeFaults{})
		s.apply(t, state.AuthenticateCommand("alice", revision, digest))
		return nil
	}})
	r := &pb.RangeRequest{Key: []byte("a"), Serializable: true}
	if _, err := pb.NewKVClient(s.dial(t)).Range(ctx, r); err != nil {
		t.Error(err)
	}
}

// disturbed are tokens at which something happens just after they were looked at.
type disturbed struct {
	tokens
	then []func() // the first look's, the second's
}

func (d *disturbed) User(digest auth.Digest, index uint64) (string, bool) {
	name, known := d.tokens.User(digest, index)
	if len(d.then) > 0 {
		d.then[0]()
		d.then = d.then[1:]
	}
	return name, known
}

// A login is applied between the look at its token and the next step, then the
// rules change before the second look's answer is used.
func TestATokenIsBelievedByTheRulesBeforeTheLook(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	machine := s.config.Machine
	rules := machine.Rules()
	letters, digest := auth.NewToken()
	index := machine.AppliedIndex() + 1
	s.Server.tokens = &disturbed{s.Server.tokens, []func(){
		func() { s.apply(t, state.AuthenticateCommand("alice", rules.Revision, digest)) },
		func() { s.apply(t, state.AuthCommand(state.Identity{Root: true}, &pb.AuthRoleAddRequest{Name: "new"})) },
	}}
	id, err := s.bearerOf(t.Context(), auth.TokenText(letters, index), rules)
	if want := (state.Identity{Name: "alice", Revision: rules.Revision}); err != nil || id != want {
		t.Errorf("%+v, %v; want %+v", id, err, want)
	}
	if machine.Rules().Revision == rules.Revision {
		t.Error("the rules did not change")
	}
}

func TestALoginWaitsForTheRulesItIsBy(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	conn := s.dial(t)
	changes := 0
	s.node.fail(nodeFaults{hear: func([]byte) { // they change between the check and the login, twice
		if changes++; changes > 2 {
			return
		}
		s.config.Machine.Apply([]state.Entry{{Index: s.config.Machine.AppliedIndex() + 1, Commands: [][]byte{
			state.AuthCommand(state.Identity{Root: true}, &pb.AuthRoleAddRequest{Name: fmt.Sprint("role ", changes)}),
		}}})
		s.node.mu.Lock()
		s.node.index++
		s.node.mu.Unlock()
	}})
	token := logIn(t, conn, "alice")
	s.node.fail(nodeFaults{})
	wantStatus(t, "with the token", putOf(bearing(t.Context(), token), conn, "a"), nil)
	if changes != 3 {
		t.Errorf("%d logins were proposed", changes)
	}
}

func TestNoPasswordIsProposed(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	conn, proposed := s.dial(t), s.proposed()
	for _, c := range []struct {
		method         string
		request, reply any
	}{
		{pb.Auth_UserAdd_FullMethodName, &pb.AuthUserAddRequest{Name: "bob", Password: "secret"}, new(pb.AuthUserAddResponse)},
		{pb.Auth_UserAdd_FullMethodName, &pb.AuthUserAddRequest{
			Name: "host", Password: "secret", HashedPassword: "secret", Options: &authpb.UserAddOptions{NoPassword: true},
		}, new(pb.AuthUserAddResponse)},
		{pb.Auth_UserChangePassword_FullMethodName, &pb.AuthUserChangePasswordRequest{Name: "host", Password: "secret"}, new(pb.AuthUserChangePasswordResponse)},
		{pb.Auth_Authenticate_FullMethodName, &pb.AuthenticateRequest{Name: "bob", Password: "secret"}, new(pb.AuthenticateResponse)},
	} {
		if err := conn.Invoke(t.Context(), c.method, c.request, c.reply); err != nil {
			t.Fatalf("%s: %v", c.method, err)
		}
		if command := <-proposed; bytes.Contains(command, []byte("secret")) {
			t.Errorf("%s of %v: proposed %q", c.method, c.request, command)
		}
	}
}

// A watch goes on after its right was taken back, as in etcd; a lease's stream
// ends with the next renewal.
func TestRightsAreLookedAtWhenTheyAreUsed(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	conn, root := s.dial(t), s.client(t)
	alice := bearing(t.Context(), logIn(t, conn, "alice"))
	if _, err := pb.NewLeaseClient(conn).LeaseGrant(alice, &pb.LeaseGrantRequest{ID: 7, TTL: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewKVClient(conn).Put(alice, &pb.PutRequest{Key: []byte("a"), Lease: 7}); err != nil {
		t.Fatal(err)
	}
	renewals, err := pb.NewLeaseClient(conn).LeaseKeepAlive(alice)
	if err != nil {
		t.Fatal(err)
	}
	renew := func() error {
		if err := renewals.Send(&pb.LeaseKeepAliveRequest{ID: 7}); err != nil {
			return err
		}
		_, err := renewals.Recv()
		return err
	}
	wantStatus(t, "a renewal", renew(), nil)
	stream, err := pb.NewWatchClient(conn).Watch(alice)
	if err != nil {
		t.Fatal(err)
	}
	watched := &watching{t: t, stream: stream}
	watched.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if _, err := root.RoleRevokePermission(t.Context(), "writer", "a", "b"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "a renewal without the right", renew(), rpctypes.ErrGRPCPermissionDenied)
	wantStatus(t, "root puts", putOf(t.Context(), conn, "a"), nil)
	if r := watched.receive(); len(r.Events) != 1 {
		t.Errorf("the watch told %v", r)
	}
	refused := watched.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if refused.CancelReason != rpctypes.ErrGRPCPermissionDenied.Error() {
		t.Errorf("a new watch: %v", refused)
	}
}

func TestAWebsocketsTokenIsWhatItOffers(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	token := logIn(t, s.dial(t), "alice")
	for _, header := range []http.Header{
		{"Sec-Websocket-Protocol": {"Bearer, " + token}}, {"Authorization": {token}}, {"Authorization": {"Bearer " + token}},
	} {
		conn, _, err := open(t, s.dialer(), "ws://cleat/v3/watch", header)
		if err != nil {
			t.Fatal(err)
		}
		say(t, conn, `{"create_request":{"key":"YQ=="}}`)
		hear(t, conn, `"created":true`)
		say(t, conn, `{"create_request":{"key":"Yg=="}}`)
		hear(t, conn, `"cancel_reason":"rpcerror:code=PermissionDenied`)
	}
}

func TestAJWTIsGivenAndBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	jwt, err := auth.ParseTokenSetting("jwt,sign-method=HS256,priv-key=" + path)
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(c *Config) { c.JWT = jwt })
	s.staff(t)
	conn := s.dial(t)
	alice := bearing(t.Context(), logIn(t, conn, "alice"))
	wantStatus(t, "alice, hers", putOf(alice, conn, "a"), nil)
	if _, err := s.client(t).RoleAdd(t.Context(), "another"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "by older rules", putOf(alice, conn, "a"), rpctypes.ErrGRPCAuthOldRevision)
	wantStatus(t, "a simple token", putOf(bearing(t.Context(), "x.1"), conn, "a"), rpctypes.ErrGRPCInvalidAuthToken)
}

// BenchmarkLogins has 200 clients log in at once, at the cost that a member has,
// while one client gets a key as fast as it can.
//
//	go test ./api -run '^$' -bench Logins -benchtime 1x
func BenchmarkLogins(b *testing.B) {
	const clients = 200
	for name, user := range map[string]func(i int) string{
		"a user each": func(i int) string { return fmt.Sprint("user", i) },
		"one user":    func(int) string { return "user0" },
	} {
		b.Run(name, func(b *testing.B) {
			s := startServer(b, func(c *Config) { c.Passwords = auth.NewPasswords(auth.DefaultCost) })
			conn := s.dial(b)
			s.users(b, clients)
			for range b.N {
				alone := gets(b, conn, func(n int) bool { return n < 1000 })
				done := make(chan struct{})
				var logins sync.WaitGroup
				began := time.Now()
				for i := range clients {
					logins.Go(func() {
						_, err := pb.NewAuthClient(conn).Authenticate(b.Context(), &pb.AuthenticateRequest{Name: user(i), Password: "word"})
						if err != nil {
							b.Error(err)
						}
					})
				}
				go func() { logins.Wait(); close(done) }()
				beside := gets(b, conn, func(n int) bool {
					select {
					case <-done:
						return n == 0
					default:
						return true
					}
				})
				b.ReportMetric(time.Since(began).Seconds(), "s/200-logins")
				for what, took := range map[string][]time.Duration{"alone": alone, "beside": beside} {
					b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/get-median-"+what)
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/get-99%-"+what)
				}
			}
		})
	}
}

// gets returns how long gets took, sorted, as many as it is told to make.
func gets(b *testing.B, conn *grpc.ClientConn, more func(n int) bool) []time.Duration {
	b.Helper()
	var took []time.Duration
	for more(len(took)) {
		began := time.Now()
		if _, err := pb.NewKVClient(conn).Range(b.Context(), &pb.RangeRequest{Key: []byte("a")}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// users are made with one hash, as a benchmark of logins is none of hashes.
func (s *testServer) users(b *testing.B, n int) {
	b.Helper()
	root := state.Identity{Root: true}
	r := &pb.AuthUserAddRequest{Password: "word"}
	if err := s.hash64(b.Context(), call{caller: &caller{identity: root}}, &r.Password, &r.HashedPassword); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		r.Name = fmt.Sprint("user", i)
		s.apply(b, state.AuthCommand(root, r))
	}
	for _, r := range []proto.Message{
		&pb.AuthUserAddRequest{Name: "root", Options: &authpb.UserAddOptions{NoPassword: true}}, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &pb.AuthEnableRequest{},
	} {
		s.apply(b, state.AuthCommand(root, r))
	}
}
