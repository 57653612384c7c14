// SPDX-License-Identifier: Apache-2.0

package watch

import "github.com/prometheus/client_golang/prometheus"

// Names and meanings are etcd's, so that its dashboards work. What can be
// counted when somebody asks is counted then.
type metrics struct {
	hub    *Hub
	events prometheus.Counter

	watchers, slow, pending, streams *prometheus.Desc
}

func newMetrics(reg prometheus.Registerer, h *Hub) metrics {
	m := metrics{
		hub: h,
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "etcd_debugging", Subsystem: "mvcc", Name: "events_total",
			Help: "Total number of events sent by this member.",
		}),
		watchers: describe("watcher_total", "Total number of watchers."),
		slow:     describe("slow_watcher_total", "Total number of unsynced slow watchers."),
		pending:  describe("pending_events_total", "Total number of pending events to be sent."),
		streams:  describe("watch_stream_total", "Total number of watch streams."),
	}
	if reg != nil {
		reg.MustRegister(m, m.events)
	}
	return m
}

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("etcd_debugging_mvcc_"+name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (m metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.watchers, m.slow, m.pending, m.streams} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	n := m.hub.count()
	for d, v := range map[*prometheus.Desc]int{
		m.watchers: n.watchers, m.slow: n.slow, m.pending: n.pending, m.streams: n.streams,
	} {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
}

type counts struct{ watchers, slow, pending, streams int }

func (h *Hub) count() (n counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.streams = len(h.groups)
	for g := range h.groups {
		n.watchers += len(g.cursors)
		for c := range g.cursors {
			n.pending += len(c.pending)
			if !c.caughtUp() {
				n.slow++
			}
		}
	}
	return n
}
