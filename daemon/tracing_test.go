// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

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

// A put and a get of a client that is traced are spans of its trace, with what
// they wait for in them; those of one that is not are not told of. The last ones
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
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	parents := map[string]string{}
	names := map[string]string{}
	for _, s := range c.spans {
		names[string(s.SpanId)] = s.Name
	}
	for _, s := range c.spans {
		parents[s.Name] = names[string(s.ParentSpanId)]
		if text := s.String(); strings.Contains(text, "secret") || strings.Contains(text, "hidden") {
			t.Errorf("a span tells a key or a value: %s", text)
		}
	}
	want := map[string]string{
		"etcdserverpb.KV/Put": "", "agree": "etcdserverpb.KV/Put",
		"etcdserverpb.KV/Range": "", "sync": "etcdserverpb.KV/Range", "read": "etcdserverpb.KV/Range",
	}
	for name, parent := range want {
		if got, told := parents[name]; !told || got != parent {
			t.Errorf("span %s in %q, want it in %q", name, got, parent)
		}
	}
	if len(c.spans) != len(want) || !strings.Contains(c.who, "cleat") {
		t.Errorf("%d spans of %s", len(c.spans), c.who)
	}
}
