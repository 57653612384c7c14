// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// openTracing begins to send spans to a collector over OTLP, if there is one to
// send to. It is not waited for: what it does not take is dropped, and told of in
// the log.
func (d *Daemon) openTracing(ctx context.Context) error {
	address := d.config().TracingAddress
	if address == "" {
		return nil
	}
	to := []otlptracegrpc.Option{otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(address)}
	if strings.Contains(address, "://") {
		to = []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(address)}
	}
	exporter, err := otlptracegrpc.New(ctx, to...)
	if err != nil {
		return fmt.Errorf("%w: distributed-tracing-address: %v", ErrConfig, err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { d.log.Warn("spans were not sent", "cause", err) }))
	d.sampler.set(d.config().TracingRate)
	d.spans = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(&d.sampler)),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "cleat"), attribute.String("service.version", d.version),
			attribute.String("service.instance.id", etcdID(d.dir.memberID())),
		)),
	)
	d.log.Info("requests are traced", "to", address, "per_million", d.config().TracingRate)
	return nil
}

const perMillion = 1_000_000

// sampler decides about requests whose caller is not traced, by a rate that may
// change.
type sampler struct {
	by atomic.Pointer[sdktrace.Sampler]
}

func (s *sampler) set(rate int64) {
	by := sdktrace.NeverSample()
	if rate > 0 {
		by = sdktrace.TraceIDRatioBased(float64(rate) / perMillion)
	}
	s.by.Store(&by)
}

// ShouldSample implements sdktrace.Sampler.
func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.by.Load()).ShouldSample(p)
}

// Description implements sdktrace.Sampler.
func (s *sampler) Description() string { return (*s.by.Load()).Description() }

// tracer makes the spans of requests; nil: there are none.
func (d *Daemon) tracer() trace.Tracer {
	if d.spans == nil {
		return nil
	}
	return d.spans.Tracer("github.com/cleatd/cleat")
}

// closeTracing sends what is left. A collector that hangs must not take the time
// that the end of the rest needs.
func (d *Daemon) closeTracing(ctx context.Context) {
	if d.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.limit/4)
	defer cancel()
	if err := d.spans.Shutdown(ctx); err != nil {
		d.log.Warn("the last spans were not sent", "cause", err)
	}
	d.spans = nil
}
