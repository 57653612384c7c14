// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// shown is the member's certificate in a new handshake.
func (p *process) shown(b bundle) *x509.Certificate {
	p.t.Helper()
	config := b.config()
	config.ServerName = "localhost"
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", p.address(), config)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// held is one TLS connection to the client door, made now and never again.
func (p *process) held(b bundle, protocol string) *tls.Conn {
	p.t.Helper()
	config := b.config()
	config.ServerName, config.NextProtos = "localhost", []string{protocol}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", p.address(), config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// over is gRPC on one connection: where a client would dial anew, it fails.
func over(t *testing.T, conn net.Conn) *grpc.ClientConn {
	t.Helper()
	once := make(chan net.Conn, 1)
	once <- conn
	c, err := grpc.NewClient("passthrough:///held", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the connection was dropped")
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// watchFoo opens a watch and waits until it is there.
func watchFoo(t *testing.T, conn *grpc.ClientConn) pb.Watch_WatchClient {
	t.Helper()
	watch, err := pb.NewWatchClient(conn).Watch(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("foo")}}
	if err := watch.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || !r.Created {
		t.Fatalf("%v %v", r, err)
	}
	return watch
}

// Connections live on: the certificate that they began with has expired when
// the third after it is shown, and nobody who came before notices.
func TestTheMembersCertificateRenewsUnderOpenConnections(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--cert-ttl", "3s").ready()
	alice := p.issue("alice", time.Hour)
	web, grpcConn := p.held(alice, "http/1.1"), p.held(alice, "h2")
	begun := grpcConn.ConnectionState().PeerCertificates[0]
	conn := over(t, grpcConn)
	watch := watchFoo(t, conn)
	answers := bufio.NewReader(web)

	seen := make(map[string]bool)
	deadline := time.Now().Add(patience)
	for len(seen) < 4 || time.Now().Before(begun.NotAfter) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d certificates", len(seen))
		}
		seen[p.shown(alice).SerialNumber.String()] = true
		if _, err := pb.NewKVClient(conn).Put(limited(t), &pb.PutRequest{Key: []byte("foo")}); err != nil {
			t.Fatalf("gRPC: %v", err)
		}
		if r, err := watch.Recv(); err != nil || len(r.Events) != 1 {
			t.Fatalf("the watch got %v, %v", r, err)
		}
		if err := getVersion(web, answers); err != nil {
			t.Fatalf("HTTP: %v", err)
		}
	}
	_, metrics := p.get(alice, "/metrics")
	if strings.Contains(metrics, `cleat_tls_refused_total`) && strings.Contains(metrics, `reason="expired"`) {
		t.Error("an expired certificate was met")
	}
}

// getVersion asks once over a connection that stays open.
func getVersion(conn net.Conn, answers *bufio.Reader) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	reply, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK || reply.Close {
		return fmt.Errorf("%s, to be closed: %v", reply.Status, reply.Close)
	}
	_, err = io.Copy(io.Discard, reply.Body)
	return err
}

func TestAMemberThatWasOffBeyondItsCertificatesLifeComesBack(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil, "--cert-ttl", "1s").ready()
	alice := p.issue("alice", time.Hour)
	before := p.shown(alice)
	if code := p.end(syscall.SIGKILL); code != -1 {
		t.Fatalf("exit code %d", code)
	}
	<-time.After(time.Until(before.NotAfter))
	again := start(t, dir, nil, "--cert-ttl", "1h").ready()
	if again.shown(alice).Equal(before) {
		t.Error("the expired certificate is shown")
	}
	if _, err := again.remote(alice).Put(limited(t), "foo", "bar"); err != nil {
		t.Error(err)
	}
}

// The member's certificate may be restored or replaced on disk: SIGHUP takes
// what is there, unless the member could not serve with it.
func TestSIGHUPTakesTheCertificateOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data", "pki", "member.pem")
	p := start(t, dir, nil).ready()
	alice := p.issue("alice", time.Hour)
	first := p.shown(alice)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.end(syscall.SIGTERM)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p = start(t, dir, nil).ready() // with a certificate that it makes itself
	watch := watchFoo(t, over(t, p.held(alice, "h2")))
	second := p.shown(alice)
	if second.Equal(first) {
		t.Fatal("the certificate is the one that was removed")
	}

	reload := func(text []byte, says string, want *x509.Certificate) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		p.await(says)
		if got := p.shown(alice); !got.Equal(want) {
			t.Errorf("certificate %v is shown, want %v", got.SerialNumber, want.SerialNumber)
		}
	}
	reload([]byte("nonsense"), `level=ERROR msg="the new configuration is refused, the old one stays in force" cause="certificates: reload `+path, second)
	reload(kept, `msg=reloaded`, first)
	if _, err := p.remote(alice).Put(limited(t), "foo", "bar"); err != nil {
		t.Error(err)
	}
	if r, err := watch.Recv(); err != nil || len(r.Events) != 1 {
		t.Errorf("the watch from before got %v, %v", r, err)
	}
}
