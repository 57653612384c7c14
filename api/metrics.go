// SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// metrics are named as etcd names them, so that dashboards work unchanged.
// What is counted for each request is looked up once, when the method is
// registered (see [metrics.method]): a label look-up costs more than the count.
type metrics struct {
	started, handled   *prometheus.CounterVec
	msgReceived        *prometheus.CounterVec
	msgSent            *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	clientRequests     *prometheus.CounterVec
	streamFailures     *prometheus.CounterVec
	sentBytes          prometheus.Counter
	receivedBytes      prometheus.Counter
	tlsRefused         *prometheus.CounterVec
	socketRefused      prometheus.Counter
	shed               *prometheus.CounterVec
	health             healthMetrics
	unary, streamCalls versions
}

func newMetrics(r prometheus.Registerer) *metrics {
	rpc := []string{"grpc_service", "grpc_method", "grpc_type"}
	m := &metrics{
		started:        counters("grpc_server_started_total", "RPCs begun.", rpc...),
		handled:        counters("grpc_server_handled_total", "RPCs ended, by their code.", append(rpc, "grpc_code")...),
		msgReceived:    counters("grpc_server_msg_received_total", "Messages received.", rpc...),
		msgSent:        counters("grpc_server_msg_sent_total", "Messages sent.", rpc...),
		clientRequests: counters("etcd_server_client_requests_total", "Requests, by the client's API version.", "type", "client_api_version"),
		streamFailures: counters("etcd_network_server_stream_failures_total", "Streams that broke.", "Type", "API"),
		tlsRefused:     counters("cleat_tls_refused_total", "Connections refused at the TLS door, by reason.", "reason"),
		shed:           counters("cleat_shed_total", "Requests refused, and connections closed, so that memory and others' time suffice, by reason.", "reason"),
		sentBytes:      counter("etcd_network_client_grpc_sent_bytes_total", "Bytes of messages sent to gRPC clients."),
		receivedBytes:  counter("etcd_network_client_grpc_received_bytes_total", "Bytes of messages received from gRPC clients."),
		socketRefused:  counter("cleat_socket_refused_total", "Connections refused at the Unix socket."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_server_request_duration_seconds", Help: "Time to answer a request, by its type.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"type", "success"}),
		health: newHealthMetrics(),
	}
	m.unary = versions{counters: m.clientRequests, kind: "unary"}
	m.streamCalls = versions{counters: m.clientRequests, kind: "stream"}
	if r != nil {
		r.MustRegister(m.started, m.handled, m.msgReceived, m.msgSent, m.duration, m.clientRequests, m.streamFailures,
			m.sentBytes, m.receivedBytes, m.tlsRefused, m.socketRefused, m.shed)
		m.health.register(r)
	}
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// method counts the calls of one RPC.
type method struct {
	started, received, sent prometheus.Counter
	handled                 [codes.Unauthenticated + 1]prometheus.Counter
}

func (m *metrics) method(service, name, kind string) *method {
	out := &method{
		started:  m.started.WithLabelValues(service, name, kind),
		received: m.msgReceived.WithLabelValues(service, name, kind),
		sent:     m.msgSent.WithLabelValues(service, name, kind),
	}
	for code := range out.handled {
		out.handled[code] = m.handled.WithLabelValues(service, name, kind, codes.Code(code).String())
	}
	return out
}

func (m *method) done(code codes.Code) {
	m.handled[min(code, codes.Unauthenticated)].Inc()
}

// durations times one type of request, by whether it succeeded.
type durations struct{ succeeded, failed prometheus.Observer }

func (m *metrics) durations(kind string) durations {
	return durations{m.duration.WithLabelValues(kind, "true"), m.duration.WithLabelValues(kind, "false")}
}

func (d durations) observe(start time.Time, err error) {
	if err != nil {
		d.failed.Observe(time.Since(start).Seconds())
		return
	}
	d.succeeded.Observe(time.Since(start).Seconds())
}

// versions counts requests by the version that the client states. A client
// may state anything, so only the first versions met get a counter of their
// own.
type versions struct {
	counters *prometheus.CounterVec
	kind     string
	known    sync.Map // string to prometheus.Counter
	size     atomic.Int64
}

const maxClientVersions = 32

func (v *versions) count(version string) {
	c, known := v.known.Load(version)
	if !known {
		if v.size.Add(1) > maxClientVersions {
			v.size.Add(-1)
			version = "other"
		}
		c, _ = v.known.LoadOrStore(version, v.counters.WithLabelValues(v.kind, version))
	}
	c.(prometheus.Counter).Inc()
}
