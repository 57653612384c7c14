// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
)

// overhead is what a request may weigh beyond MaxRequestBytes before it is
// even decoded, as in etcd.
const overhead = 512 << 10

// maxStreams is how many streams, requests included, a connection may have.
// Each costs some 10 KB even if nothing is asked on it.
const maxStreams = 16 << 10

// newGRPC returns a grpc server with etcd's services, which takes messages of so
// many bytes.
func (s *Server) newGRPC(takes int) *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(admitted{s.fair}),
		grpc.ForceServerCodecV2(codec{sent: s.metrics.sentBytes, received: s.metrics.receivedBytes}),
		grpc.MaxRecvMsgSize(takes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		// A client multiplexes all its watches and requests on one
		// connection; etcd sets no limit and clients count on it. What they
		// have beyond this one waits at the client.
		grpc.MaxConcurrentStreams(maxStreams),
		// etcd's defaults: a client that pings more often gets GOAWAY.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
		// The doors have done the slow part; what is left is the preface.
		grpc.ConnectionTimeout(handshakeLimit),
		// Stop ends handlers before it takes away what they stand on.
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.foreignUnary),
		grpc.StreamInterceptor(s.foreignStream),
	)
	for _, service := range []*grpc.ServiceDesc{s.kv(), s.watch(), s.lease(), s.cluster(), s.maintenance(), s.auth(), s.lock(), s.election()} {
		service.HandlerType = (*any)(nil)
		g.RegisterService(service, nil)
	}
	healthpb.RegisterHealthServer(g, s.healthy)
	return g
}

// foreignUnary and foreignStream stand before services whose descriptions are
// generated: health and reflection, which anybody may ask whom a door let in that
// has them, and the admin services, which only root may. Of etcd's services, grpc shows the unary calls
// to nobody but their handlers, the streams to foreignStream too.
func (s *Server) foreignUnary(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := admitForeign(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	reply, err := handle(ctx, r)
	return reply, fault(s.log, info.FullMethod, err)
}

func (s *Server) foreignStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, "/etcdserverpb.") || strings.HasPrefix(info.FullMethod, "/"+electionService) {
		return handle(srv, ss)
	}
	if err := admitForeign(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	ctx, end := s.streams.add(ss.Context(), false)
	defer end()
	err := handle(srv, within{ss, ctx})
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return fault(s.log, info.FullMethod, err)
}

func admitForeign(ctx context.Context, rpc string) error {
	who, err := callerOf(ctx)
	if err != nil {
		return err
	}
	switch rpc {
	case healthpb.Health_Check_FullMethodName, healthpb.Health_Watch_FullMethodName, healthpb.Health_List_FullMethodName,
		reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName, reflectionalpha.ServerReflection_ServerReflectionInfo_FullMethodName:
		return nil
	}
	if !who.identity.Root {
		return status.Error(codes.PermissionDenied, "cleat: only the administrator may do this: use the Unix socket as root")
	}
	return nil
}

// within is a stream whose context the server can end.
type within struct {
	grpc.ServerStream
	ctx context.Context
}

func (w within) Context() context.Context { return w.ctx }
