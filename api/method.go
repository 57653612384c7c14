// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The services are registered with descriptions of our own instead of the
// generated ones: handlers return spliced messages, which the generated
// interfaces do not allow, and what every call has in common (counting,
// identity, metadata, translation of errors) is one function with its counters
// at hand instead of a chain of interceptors that look them up.

// request is what a message type must be to be decoded into.
type request[R any] interface {
	*R
	proto.Message
}

// arrived is a request and the bytes in which it came.
type arrived[R any, P request[R]] struct {
	message R
	bytes   int
}

func (a *arrived[R, P]) from(bytes int) proto.Message {
	a.bytes = bytes
	return P(&a.message)
}

// unary describes an RPC with one request and one reply. The handler's reply
// is a proto.Message, a [wire] or [parts].
func unary[R any, P request[R]](s *Server, service, name string, handle func(context.Context, call, P) (any, error)) grpc.MethodDesc {
	m := s.metrics.method(service, name, "unary")
	took := s.metrics.durations(name)
	handle = traced(s, service, name, handle)
	serve := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		c := call{start: time.Now()}
		m.started.Inc()
		in := new(arrived[R, P])
		err := decode(in)
		if err != nil {
			m.done(status.Code(err))
			return nil, err
		}
		m.received.Inc()
		var reply any
		if c.caller, err = s.admit(ctx, &s.metrics.unary); err == nil {
			reply, err = s.enter(c, in.bytes, func() (any, error) { return handle(ctx, c, P(&in.message)) })
		}
		took.observe(c.start, err)
		if err != nil {
			err = fault(s.log, name, err)
			m.done(status.Code(err))
			return nil, err
		}
		m.done(0)
		m.sent.Inc()
		return reply, nil
	}
	return grpc.MethodDesc{MethodName: name, Handler: serve}
}

// enter handles a request that came in so many bytes, if there is room for it.
func (s *Server) enter(c call, bytes int, handle func() (any, error)) (any, error) {
	cost, err := s.fair.enter(c.caller.account, bytes)
	if err != nil {
		return nil, err
	}
	defer c.caller.account.requests.give(cost)
	return handle()
}

// call is one request on its way: who asks, and since when.
type call struct {
	caller *caller
	start  time.Time
}

// stream describes an RPC with a stream in at least one direction.
func (s *Server) stream(service, name string, client, server bool, handle func(*flow) error) grpc.StreamDesc {
	kind := map[[2]bool]string{{true, false}: "client_stream", {false, true}: "server_stream", {true, true}: "bidi_stream"}
	m := s.metrics.method(service, name, kind[[2]bool{client, server}])
	serve := s.tracedStream(service, name, func(ss grpc.ServerStream) error {
		m.started.Inc()
		err := s.serveStream(ss, m, handle)
		if err != nil {
			err = fault(s.log, name, err)
		}
		m.done(status.Code(err))
		return err
	})
	return grpc.StreamDesc{
		StreamName: name, Handler: func(_ any, ss grpc.ServerStream) error { return serve(ss) },
		ClientStreams: client, ServerStreams: server,
	}
}

func (s *Server) serveStream(ss grpc.ServerStream, m *method, handle func(*flow) error) error {
	who, err := s.admit(ss.Context(), &s.metrics.streamCalls)
	if err != nil {
		return err
	}
	ctx, end := s.streams.add(ss.Context(), insistsOnLeader(ss.Context()))
	defer end()
	err = handle(&flow{ss: ss, ctx: ctx, caller: who, method: m})
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}

// flow is one stream of messages. One goroutine may receive while another
// sends.
type flow struct {
	ss     grpc.ServerStream
	ctx    context.Context // ends with the stream, or with a cause when the server ends it
	caller *caller
	method *method
}

// receive returns io.EOF when the client has said all it will.
func (f *flow) receive(m proto.Message) error {
	if err := f.ss.RecvMsg(m); err != nil {
		return err
	}
	f.method.received.Inc()
	return nil
}

func (f *flow) send(m any) error {
	if err := f.ss.SendMsg(m); err != nil {
		return err
	}
	f.method.sent.Inc()
	return nil
}

// admit is the start of every call: it finds the caller and checks the
// request's metadata.
func (s *Server) admit(ctx context.Context, count *versions) (*caller, error) {
	who, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	version := "unknown"
	if stated := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(stated) > 0 {
		version = stated[0]
	}
	if !utf8.ValidString(version) {
		return nil, rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	count.count(version)
	if insistsOnLeader(ctx) && s.config.Node.Status().Leader == 0 {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return who, nil
}

func insistsOnLeader(ctx context.Context) bool {
	stated := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(stated) > 0 && stated[0] == rpctypes.MetadataHasLeader
}
