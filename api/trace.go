// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A request that is traced is a span of its caller's trace, if that has one, and
// what it waits for are spans in it:
//
//	etcdserverpb.KV/Put ─── agree     from the proposal until it is applied here
//	etcdserverpb.KV/Range ─ sync      until the state is as new as the request
//	                      └ read      the keys, from memory and disk
//
// A stream is a span from its first moment to its last, as in etcd.
//
// No key, value or user is told. Without a tracer nothing of this costs anything
// but a comparison.

// traced returns a handler whose requests are spans, or the handler itself if
// nobody traces.
func traced[P any](s *Server, service, name string, handle func(context.Context, call, P) (any, error)) func(context.Context, call, P) (any, error) {
	if s.config.Tracer == nil {
		return handle
	}
	begin := s.spans(service, name)
	return func(ctx context.Context, c call, r P) (any, error) {
		ctx, span := begin(ctx, c.start)
		defer span.End()
		reply, err := handle(ctx, c, r)
		tell(span, err)
		return reply, err
	}
}

// tracedStream is traced for streams.
func (s *Server) tracedStream(service, name string, serve func(grpc.ServerStream) error) func(grpc.ServerStream) error {
	if s.config.Tracer == nil {
		return serve
	}
	begin := s.spans(service, name)
	return func(ss grpc.ServerStream) error {
		ctx, span := begin(ss.Context(), time.Now())
		defer span.End()
		err := serve(within{ss, ctx})
		tell(span, err)
		return err
	}
}

// spans returns what begins the spans of one RPC, in their callers' traces.
func (s *Server) spans(service, name string) func(context.Context, time.Time) (context.Context, trace.Span) {
	attributes := trace.WithAttributes(attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", name))
	return func(ctx context.Context, start time.Time) (context.Context, trace.Span) {
		if md, has := metadata.FromIncomingContext(ctx); has {
			ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
		}
		return s.config.Tracer.Start(ctx, service+"/"+name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start), attributes)
	}
}

// tell notes what a span came to, as the caller is told.
func tell(span trace.Span, err error) {
	if err == nil {
		return
	}
	answer, _ := answerTo(err)
	span.SetStatus(codes.Error, messageOf(answer))
	span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(status.Code(answer))))
}

// step does a part of a request as a span of it.
func (s *Server) step(ctx context.Context, name string, do func(context.Context) error) error {
	if s.config.Tracer == nil {
		return do(ctx)
	}
	ctx, span := s.config.Tracer.Start(ctx, name)
	defer span.End()
	err := do(ctx)
	tell(span, err)
	return err
}

// carrier are the metadata in which the caller's trace comes.
type carrier metadata.MD

func (c carrier) Get(key string) string {
	if values := metadata.MD(c).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }
func (c carrier) Keys() []string        { return slices.Collect(maps.Keys(c)) }
