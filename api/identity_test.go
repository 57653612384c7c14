// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cleatd/cleat/state"
)

// proposed returns where the next command that the node is asked to agree
// upon will be.
func (s *testServer) proposed() <-chan []byte {
	commands := make(chan []byte, 1)
	s.node.fail(nodeFaults{hear: func(command []byte) { commands <- command }})
	return commands
}

// wantPut checks that the put of foo was proposed, and for whom.
func wantPut(t *testing.T, proposed <-chan []byte, who state.Identity) {
	t.Helper()
	want := state.PutCommand(who, &pb.PutRequest{Key: []byte("foo")})
	if got := <-proposed; !bytes.Equal(got, want) {
		t.Errorf("proposed %q, want %q", got, want)
	}
}

func putFoo(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	if _, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("foo")}); err != nil {
		t.Fatal(err)
	}
}

func TestACommandNamesItsCallerAtTheSocket(t *testing.T) {
	for name, who := range map[string]state.Identity{
		"the administrator": {Root: true, Name: "root"},
		"a user":            {Name: "alice"},
		"a user named root": {Name: "root"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(c *Config) {
				c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return who, nil }
			})
			proposed := s.proposed()
			putFoo(t, s.dial(t))
			wantPut(t, proposed, who)
			if code, body := s.post(t, "/v3/kv/put", `{"key":"Zm9v"}`); code != 200 {
				t.Fatalf("%d %s", code, body)
			}
			wantPut(t, proposed, who)
		})
	}
}

func TestEveryVerbsCommandNamesItsCaller(t *testing.T) {
	alice := state.Identity{Name: "alice"}
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return alice, nil }
	})
	conn, proposed := s.dial(t), s.proposed()
	put := &pb.PutRequest{Key: []byte("k")}
	deletion := &pb.DeleteRangeRequest{Key: []byte("k")}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}}
	grant, revoke := &pb.LeaseGrantRequest{ID: 7, TTL: 60}, &pb.LeaseRevokeRequest{ID: 7}
	compaction := &pb.CompactionRequest{Revision: 2}
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT, MemberID: 42}
	for _, c := range []struct {
		method         string
		request, reply any
		want           []byte
	}{
		{pb.KV_Put_FullMethodName, put, new(pb.PutResponse), state.PutCommand(alice, put)},
		{pb.KV_DeleteRange_FullMethodName, deletion, new(pb.DeleteRangeResponse), state.DeleteRangeCommand(alice, deletion)},
		{pb.KV_Txn_FullMethodName, txn, new(pb.TxnResponse), state.TxnCommand(alice, txn)},
		{pb.Lease_LeaseGrant_FullMethodName, grant, new(pb.LeaseGrantResponse), state.LeaseGrantCommand(alice, grant)},
		{pb.Lease_LeaseRevoke_FullMethodName, revoke, new(pb.LeaseRevokeResponse), state.LeaseRevokeCommand(alice, revoke)},
		{pb.KV_Compact_FullMethodName, compaction, new(pb.CompactionResponse), state.CompactCommand(alice, compaction)},
		{pb.Maintenance_Alarm_FullMethodName, alarm, new(pb.AlarmResponse),
			state.AlarmCommand(alice, state.Alarm{Type: alarm.Alarm, Member: alarm.MemberID}, true)},
	} {
		if err := conn.Invoke(t.Context(), c.method, c.request, c.reply); err != nil {
			t.Fatalf("%s: %v", c.method, err)
		}
		if got := <-proposed; !bytes.Equal(got, c.want) {
			t.Errorf("%s: proposed %q, want %q", c.method, got, c.want)
		}
	}
}

// Two users of one door at a time are told apart, and neither is root, however
// its certificate names it.
func TestACommandNamesTheCertificatesUserAtTheTLSDoor(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, nil)
	address := startTLS(t, s, ours.serverConfig(t))
	proposed := s.proposed()
	for _, name := range []string{"alice", "bob", "root"} {
		config := ours.clientConfig(ours.issue(t, name, time.Now().Add(time.Hour)))
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		putFoo(t, conn)
		wantPut(t, proposed, state.Identity{Name: name})

		web := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer web.CloseIdleConnections()
		reply, err := web.Post("https://"+address+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"Zm9v"}`))
		if code, body := answer(t, reply, err); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		wantPut(t, proposed, state.Identity{Name: name})
	}
}

// The identity of a request through the gateway is its connection's, whatever
// its headers say.
func TestGatewayCarriesTheCallerInItsConnection(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return state.Identity{Name: "alice"}, nil }
	})
	proposed := s.proposed()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://cleat/v3/kv/put", strings.NewReader(`{"key":"Zm9v"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Grpc-Metadata-Authorization", "Grpc-Metadata-Identity", "Grpc-Metadata-Root"} {
		r.Header.Set(name, "root")
	}
	if code, body := answer2(t, s.web(t), r); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	wantPut(t, proposed, state.Identity{Name: "alice"})
}

func answer2(t *testing.T, web *http.Client, r *http.Request) (int, string) {
	t.Helper()
	reply, err := web.Do(r)
	return answer(t, reply, err)
}
