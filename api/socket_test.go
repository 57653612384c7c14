// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/state"
)

func TestAStrangerAtTheSocketIsToldWhatToTry(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) {
			return state.Identity{}, errors.New("join group cleat and log in again")
		}
	})
	conn := s.dial(t)
	_, unary := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
	_, health := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	_, streamed := rangeStream(t, conn, &pb.RangeRequest{Key: []byte("k")})
	for name, err := range map[string]error{"unary": unary, "health": health, "stream": streamed} {
		if status.Code(err) != codes.PermissionDenied || !tellsUID(err.Error()) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, path := range []string{"/health", "/v3/kv/range", "/metrics", "/nowhere"} {
		if code, body := s.get(t, path); code != 403 || !tellsUID(body) {
			t.Errorf("%s: got %d: %s", path, code, body)
		}
	}
	if s.store.Revision() != 1 {
		t.Error("a stranger wrote")
	}
}

func tellsUID(text string) bool {
	return strings.Contains(text, "cleat: uid 0 may not use this socket: join group cleat") ||
		(os.Getuid() != 0 && strings.Contains(text, "may not use this socket: join group cleat"))
}

func rangeStream(t *testing.T, conn *grpc.ClientConn, r *pb.RangeRequest) ([]*pb.RangeResponse, error) {
	t.Helper()
	stream, err := pb.NewKVClient(conn).RangeStream(t.Context(), r)
	if err != nil {
		return nil, err
	}
	var out []*pb.RangeResponse
	for {
		reply, err := stream.Recv()
		if err != nil {
			return out, err
		}
		out = append(out, reply.RangeResponse)
	}
}

// adminService stands for what the daemon registers.
var adminService = grpc.ServiceDesc{
	ServiceName: "test.Admin",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Do", Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		var r pb.PutRequest
		if err := decode(&r); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.Admin/Do"}
		return intercept(ctx, &r, info, func(context.Context, any) (any, error) { return &pb.PutResponse{}, nil })
	}}},
}

func TestAdminServicesAreForRoot(t *testing.T) {
	for _, c := range []struct {
		identity state.Identity
		want     codes.Code
	}{
		{state.Identity{Root: true}, codes.OK},
		{state.Identity{Name: "alice"}, codes.PermissionDenied},
	} {
		s := startServer(t, func(config *Config) {
			config.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return c.identity, nil }
			config.RegisterAdmin = func(r grpc.ServiceRegistrar) { r.RegisterService(&adminService, nil) }
		})
		err := s.dial(t).Invoke(t.Context(), "/test.Admin/Do", &pb.PutRequest{}, &pb.PutResponse{})
		if status.Code(err) != c.want {
			t.Errorf("%+v: got %v, want %v", c.identity, err, c.want)
		}
	}
}

func TestAConnectionFromElsewhereIsClosed(t *testing.T) {
	s := startServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, func() error { return s.ServeSocket(l) })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("a connection without peer credentials was served")
	}
}
