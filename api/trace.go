// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
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
// No key, value or user is told. Without a tracer nothing of this costs anything
// but a comparison.

// traced returns a handler whose requests are spans, or the handler itself if
// nobody traces.
func traced[P any](s *Server, service, name string, handle func(context.Context, call, P) (any, error)) func(context.Context, call, P) (any, error) {
	if s.config.Tracer == nil {
		return handle
	}
	attributes := trace.WithAttributes(attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", name))
	return func(ctx context.Context, c call, r P) (any, error) {
		if md, has := metadata.FromIncomingContext(ctx); has {
			ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
		}
		ctx, span := s.config.Tracer.Start(ctx, service+"/"+name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.start), attributes)
		defer span.End()
		reply, err := handle(ctx, c, r)
		tell(span, err)
		return reply, err
	}
}

// tell notes what a span came to.
func tell(span trace.Span, err error) {
	if err == nil {
		return
	}
	span.SetStatus(codes.Error, messageOf(err))
	span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(status.Code(err))))
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
