// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/raft"
)

// Everything that can keep a server from stopping is open: streams, a health
// watch, an idle connection, one that never says what it speaks, a watch
// through the gateway.
func TestStopEndsEverythingInTime(t *testing.T) {
	s := startServer(t, nil)
	conn := s.dial(t)
	watch, err := pb.NewWatchClient(conn).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Send(watchCreate(&pb.WatchCreateRequest{Key: []byte("k")})); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	alive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	health, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if told, err := health.Recv(); err != nil || told.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", told, err)
	}
	silent, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	reply, err := s.web(t).Post("http://cleat/v3/watch", "application/json", strings.NewReader(`{"create_request":{"key":"Zm9v"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()

	began := time.Now()
	s.Stop(context.Background())
	if took := time.Since(began); took >= stopLimit {
		t.Errorf("stopping took %v, so something was broken off", took)
	}
	if _, err := watch.Recv(); err == nil || err.Error() != rpctypes.ErrGRPCStopped.Error() {
		t.Errorf("watch ended with %v", err)
	}
	if _, err := alive.Recv(); err == nil || err.Error() != rpctypes.ErrGRPCStopped.Error() {
		t.Errorf("keep-alive ended with %v", err)
	}
	if told, err := health.Recv(); err != nil || told.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health told %v, %v", told, err)
	}
	if _, err := net.Dial("unix", s.socket); err == nil {
		t.Error("the socket still accepts")
	}
	late := listenSocket(t)
	if err := s.ServeSocket(late); err != nil {
		t.Errorf("a door that comes too late: %v", err)
	}
	if _, err := net.Dial("unix", late.Addr().String()); err == nil {
		t.Error("a door opened after Stop")
	}
	s.Stop(context.Background()) // twice is once
}

func listenSocket(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestStopWaitsForAWriteUnderWay(t *testing.T) {
	s := startServer(t, nil)
	client := pb.NewKVClient(s.dial(t))
	held, release := make(chan struct{}), make(chan struct{})
	s.node.fail(nodeFaults{hold: func(context.Context) error {
		close(held)
		<-release
		return nil
	}})
	ended := make(chan error, 1)
	go func() {
		_, err := client.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		ended <- err
	}()
	<-held
	stopped := make(chan struct{})
	go func() {
		s.Stop(context.Background())
		close(stopped)
	}()
	eventually(t, func() error {
		if !s.stopping() {
			return fmt.Errorf("not stopping yet")
		}
		return nil
	})
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the write ended with %v", err)
	}
	<-stopped
}

func TestStopGivesUpOnAWriteThatHangs(t *testing.T) {
	s := startServer(t, nil)
	client := pb.NewKVClient(s.dial(t))
	held := make(chan struct{})
	s.node.fail(nodeFaults{hold: func(ctx context.Context) error {
		close(held)
		<-ctx.Done()
		return fmt.Errorf("%w: %w", raft.ErrUnknown, ctx.Err())
	}})
	ended := make(chan error, 1)
	go func() {
		_, err := client.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		ended <- err
	}()
	<-held
	soon, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	s.Stop(soon)
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("the write ended with %v", err)
	}
}
