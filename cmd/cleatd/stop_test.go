// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// keepAlive opens a stream that keeps a new lease alive, and sees it work.
func keepAlive(t *testing.T, conn *grpc.ClientConn) pb.Lease_LeaseKeepAliveClient {
	t.Helper()
	leases := pb.NewLeaseClient(conn)
	granted, err := leases.LeaseGrant(limited(t), &pb.LeaseGrantRequest{TTL: 600})
	if err != nil {
		t.Fatal(err)
	}
	alive, err := leases.LeaseKeepAlive(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: granted.ID}); err != nil {
		t.Fatal(err)
	}
	if r, err := alive.Recv(); err != nil || r.TTL != 600 {
		t.Fatalf("%v %v", r, err)
	}
	return alive
}

// gatewayWatch opens a watch over HTTP and returns its lines after the first.
func (p *process) gatewayWatch(b bundle) *bufio.Scanner {
	p.t.Helper()
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: b.config()}, Timeout: patience}
	p.t.Cleanup(web.CloseIdleConnections)
	reply, err := web.Post("https://"+p.address()+"/v3/watch", "application/json", strings.NewReader(`{"create_request":{"key":"Zm9v"}}`))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = reply.Body.Close() })
	lines := bufio.NewScanner(reply.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"created":true`) {
		p.t.Fatalf("%s: %q %v", reply.Status, lines.Text(), lines.Err())
	}
	return lines
}

// Streams have no end of their own: a stop ends them, and says so to each
// client in the form that tells it to go to another member.
func TestASignalEndsOpenStreamsWithAStatus(t *testing.T) {
	p := start(t, t.TempDir(), nil).ready()
	alice := p.issue("alice", time.Hour)
	local, err := grpc.NewClient("unix://"+p.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	remote := over(t, p.held(alice, "h2"))
	watches := []pb.Watch_WatchClient{watchFoo(t, local), watchFoo(t, remote)}
	leases := []pb.Lease_LeaseKeepAliveClient{keepAlive(t, local), keepAlive(t, remote)}
	lines := p.gatewayWatch(alice)

	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, w := range watches {
		if _, err := w.Recv(); err == nil || err.Error() != rpctypes.ErrGRPCStopped.Error() {
			t.Errorf("a watch ended with %v", err)
		}
	}
	for _, l := range leases {
		if _, err := l.Recv(); err == nil || err.Error() != rpctypes.ErrGRPCStopped.Error() {
			t.Errorf("a stream of renewals ended with %v", err)
		}
	}
	last := struct {
		Error struct {
			Code    codes.Code
			Message string
		}
	}{}
	if !lines.Scan() {
		t.Fatalf("the watch over HTTP ended without a word: %v", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &last); err != nil || last.Error.Code != codes.Unavailable || last.Error.Message == "" {
		t.Errorf("the watch over HTTP ended with %q: %v", lines.Text(), err)
	}
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("after its last line came %q, %v", lines.Text(), lines.Err())
	}
}
