// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// guestsOf is how many connections a server has noted.
func guestsOf(s *testServer) int {
	return len(s.guests.find(func(*x509.Certificate) bool { return true }))
}

// throughGateway is how many HTTP requests are under way.
func throughGateway(s *testServer) int {
	s.gateway.mu.Lock()
	defer s.gateway.mu.Unlock()
	n := 0
	for _, l := range s.gateway.links {
		n += l.users
	}
	return n
}

// watchOver opens a watch over the TLS door, which has told that it stands.
func watchOver(t *testing.T, address string, config *tls.Config) pb.Watch_WatchClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	w, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}
	if err := w.Send(create); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recv(); err != nil || !r.Created {
		t.Fatalf("%v, %v", r, err)
	}
	return w
}

func TestTheConnectionsOfARevokedCertificateEnd(t *testing.T) {
	ours := newAuthority(t)
	var gone atomic.Pointer[x509.Certificate]
	revoked := func(c *x509.Certificate) bool { return c.Equal(gone.Load()) }
	s := startServer(t, func(c *Config) { c.Revoked = revoked })
	address := startTLS(t, s, ours.serverConfig(t))
	alice, bob := ours.issue(t, "alice", time.Now().Add(time.Hour)), ours.issue(t, "bob", time.Now().Add(time.Hour))
	theirs, others := watchOver(t, address, ours.clientConfig(alice)), watchOver(t, address, ours.clientConfig(bob))
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: ours.clientConfig(alice)}}
	t.Cleanup(web.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/v3/watch", strings.NewReader(`{"create_request":{"key":"aw=="}}`))
	if err != nil {
		t.Fatal(err)
	}
	ask.Header.Set("Content-Type", "application/json")
	followed, err := web.Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer followed.Body.Close()
	if n := guestsOf(s); n != 3 {
		t.Errorf("%d connections are known, want 3", n)
	}

	s.Drop(revoked) // nobody was
	gone.Store(alice.Leaf)
	s.Drop(revoked)
	if r, err := theirs.Recv(); err == nil || status.Code(err) == codes.DeadlineExceeded {
		t.Errorf("the watch goes on: %v, %v", r, err)
	}
	if _, err := io.Copy(io.Discard, followed.Body); err == nil || ctx.Err() != nil {
		t.Errorf("the gateway's watch goes on, or ended as if it had come to its end: %v", err)
	}
	if _, err := s.client(t).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if r, err := others.Recv(); err != nil || len(r.Events) != 1 {
		t.Errorf("another's watch: %v, %v", r, err)
	}
	eventually(t, func() error {
		if n := guestsOf(s); n != 1 {
			return fmt.Errorf("%d connections are known, want 1", n)
		}
		if n := throughGateway(s); n != 0 {
			return fmt.Errorf("%d requests are under way through the gateway", n)
		}
		return nil
	})
}

// Drop may go through the guests while one has shaken hands and is not among them
// yet: the door asks once more.
func TestWhoIsRevokedWhileShakingHandsIsNotLetIn(t *testing.T) {
	ours := newAuthority(t)
	told := make(chan string, 1)
	s := startServer(t, func(c *Config) {
		c.Revoked = func(*x509.Certificate) bool { return true }
		c.Refused = func(reason, remote string, err error) { told <- fmt.Sprint(reason, " ", err) }
	})
	address := startTLS(t, s, ours.serverConfig(t))
	conn, err := tls.Dial("tcp", address, ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour))))
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if err == nil {
		t.Error("it was let in")
	}
	if got := <-told; got != "revoked tls: the client certificate was revoked" {
		t.Errorf("told %q", got)
	}
	if n := count(t, s.metrics.tlsRefused.WithLabelValues("revoked")); n != 1 || s.logged("connection refused") != 0 {
		t.Errorf("counted %v, logged %d times beside whom it is told to", n, s.logged("connection refused"))
	}
	eventually(t, func() error {
		if n := guestsOf(s); n != 0 {
			return fmt.Errorf("%d connections are known", n)
		}
		return nil
	})
}
