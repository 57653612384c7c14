// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// collected is a collector of spans.
type collected struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []*spans.Span // under mu
	who   string        // under mu: the resource
}

func (c *collected) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		c.who = resource.Resource.String()
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func collect(t *testing.T) (*collected, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := new(collected), grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return c, l.Addr().String()
}

// What a client that is traced asks for are spans of its trace, streams too, with
// what they wait for in them, and what they came to as the client was told; those of one that is not are not told of. The last ones
// are sent when the member ends.
func TestRequestsAreSpansOfTheirCallersTrace(t *testing.T) {
	c, address := collect(t)
	o := options(t, shortDir(t))
	o.Config.TracingAddress = address
	l := begin(t, o)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(within(t), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	if _, err := l.client.Put(ctx, "secret", "hidden"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.Get(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.Get(within(t), "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.Get(ctx, "secret", clientv3.WithSerializable(), clientv3.WithRev(99)); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Fatal(err)
	}
	chunks, err := pb.NewKVClient(l.client.ActiveConnection()).RangeStream(ctx, &pb.RangeRequest{Key: []byte("secret")})
	for err == nil {
		_, err = chunks.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]string{}
	for _, s := range c.spans {
		names[string(s.SpanId)] = s.Name
	}
	var got []string // in the order of their ends
	for _, s := range c.spans {
		line := names[string(s.ParentSpanId)] + ">" + s.Name
		for _, a := range s.Attributes {
			if a.Key == "rpc.grpc.status_code" {
				line += fmt.Sprint(" ", a.Value.GetIntValue(), " ", s.Status.Message)
			}
		}
		got = append(got, line)
		if text := s.String(); strings.Contains(text, "secret") || strings.Contains(text, "hidden") {
			t.Errorf("a span tells a key or a value: %s", text)
		}
	}
	const future = " 11 etcdserver: mvcc: required revision is a future revision"
	want := []string{
		"etcdserverpb.KV/Put>agree", ">etcdserverpb.KV/Put",
		"etcdserverpb.KV/Range>sync", "etcdserverpb.KV/Range>read", ">etcdserverpb.KV/Range",
		"etcdserverpb.KV/Range>read" + future, ">etcdserverpb.KV/Range" + future,
		"etcdserverpb.KV/RangeStream>sync", ">etcdserverpb.KV/RangeStream",
	}
	if !slices.Equal(got, want) || !strings.Contains(c.who, "cleat") {
		t.Errorf("spans %q of %s, want %q", got, c.who, want)
	}
}
