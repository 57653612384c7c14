// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// raft's calls are one method with bytes both ways: raft has its own encoding.
// A state goes one way, in pieces.
const (
	callService = "cleat.raft.v1.Raft"
	callMethod  = "/" + callService + "/Call"
	sendMethod  = "/" + callService + "/Send"
)

func memberServer(s Services) *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(handed{}),
		grpc.MaxRecvMsgSize(maxCallBytes), grpc.MaxSendMsgSize(maxCallBytes),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: callService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: answerCall}},
		Streams: []grpc.StreamDesc{{StreamName: "Send", Handler: receiveState, ClientStreams: true}},
	}, s)
	s.Members(server)
	return server
}

func answerCall(to any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	from, err := MemberOf(ctx)
	if err != nil {
		return nil, err
	}
	request := new(wrapperspb.BytesValue)
	if err := decode(request); err != nil {
		return nil, err
	}
	reply, err := to.(Services).Answer(ctx, from, request.Value)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return wrapperspb.Bytes(reply), nil
}

// entryServer serves those of whom nothing is known: little at a time, and not
// for long.
func entryServer(s Services) *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(handed{}),
		grpc.MaxRecvMsgSize(64<<10), grpc.MaxConcurrentStreams(1), grpc.ConnectionTimeout(handshakeLimit),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 3 * handshakeLimit, MaxConnectionAgeGrace: handshakeLimit}),
	)
	s.Entry(server)
	return server
}

// MemberOf returns which member a call came from.
func MemberOf(ctx context.Context) (uint64, error) {
	if p, known := grpcpeer.FromContext(ctx); known {
		if who, ok := p.AuthInfo.(*caller); ok && who.member != 0 {
			return who.member, nil
		}
	}
	return 0, status.Error(codes.Unauthenticated, "peer: not a member's connection")
}

// caller is who is at the other end of a connection.
type caller struct{ member uint64 }

// AuthType makes a caller what grpc calls the AuthInfo of a connection.
func (*caller) AuthType() string { return "cleat" }

// handed are the credentials of connections whose hands the door has shaken.
type handed struct{}

var errDialing = errors.New("peer: the door's credentials do not dial")

func (handed) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, &caller{c.(*link).member}, nil
}

func (handed) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errDialing
}

func (handed) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (handed) Clone() credentials.TransportCredentials { return handed{} }
func (handed) OverrideServerName(string) error         { return nil }

// handoff is a listener whose connections come from the door.
type handoff struct {
	conns  chan *link
	closed chan struct{}
	once   sync.Once
}

func newHandoff() *handoff {
	return &handoff{conns: make(chan *link), closed: make(chan struct{})}
}

// give hands a connection over; after Close it is closed.
func (h *handoff) give(l *link) {
	select {
	case h.conns <- l:
	case <-h.closed:
		_ = l.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case l := <-h.conns:
		return l, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h }

// Network and String make a handoff its own address.
func (h *handoff) Network() string { return "handoff" }
func (h *handoff) String() string  { return "peer door" }
