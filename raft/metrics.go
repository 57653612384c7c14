// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are named as etcd's where they mean the same.
type metrics struct {
	fsync   prometheus.Histogram
	written prometheus.Counter
	leaders prometheus.Counter
	refused prometheus.Counter
	unread  prometheus.Counter
	labels  prometheus.Counter
	// of checkpoints, to and from other members
	delivered, installed prometheus.Counter
	hung, evaded         prometheus.Counter
	groups               prometheus.Histogram
	batches              prometheus.Histogram

	all        []prometheus.Collector
	registerer prometheus.Registerer // nil until register succeeded
}

func newMetrics(n *Node) *metrics {
	m := &metrics{
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "etcd_disk_wal_fsync_duration_seconds",
			Help:    "Time of a write to the raft log, with its fsync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17),
		}),
		written: counter("etcd_disk_wal_write_bytes_total", "Bytes written to the raft log."),
		leaders: counter("etcd_server_leader_changes_seen_total", "Leaders that this member has seen come."),
		refused: counter("etcd_server_proposals_failed_total", "Proposals that ended with an error."),
		unread:  counter("etcd_server_read_indexes_failed_total", "Linearizable reads that found no leader, or none in time."),
		labels:  counter("cleat_raft_labels_total", "Times the state was made durable and the raft log cut."),

		hung:   counter("cleat_raft_log_hung_total", "Times a write of the log hung and this member fell silent, so that another could lead."),
		evaded: counter("cleat_raft_log_slow_total", "Times leadership went to another member because its disk is faster by far."),

		delivered: counter("cleat_raft_checkpoints_delivered_total", "Checkpoints that other members took from this one."),
		installed: counter("cleat_raft_checkpoints_installed_total", "Checkpoints that this member has become."),

		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "cleat_raft_group_commands",
			Help:    "Commands in one entry of the raft log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
	}
	m.batches = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "cleat_raft_batch_commands",
		Help:    "Commands in one call to the leader.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 12),
	})
	m.all = append([]prometheus.Collector{m.fsync, m.written, m.leaders, m.refused, m.unread, m.labels, m.delivered, m.installed, m.hung, m.evaded, m.groups, m.batches}, n.gauges()...)
	return m
}

func (n *Node) gauges() []prometheus.Collector {
	return []prometheus.Collector{
		gauge("etcd_server_has_leader", "1 if a leader is known.", func() float64 { return claim(n.Status().Leader != 0) }),
		gauge("etcd_server_is_leader", "1 if this member leads.", func() float64 {
			l, _ := n.reign.current()
			return claim(l != nil)
		}),
		gauge("etcd_server_is_learner", "1 if this member has no vote.", func() float64 { return claim(n.Status().Learner) }),
		gauge("etcd_server_proposals_committed_total", "Index of the newest committed entry.",
			func() float64 { return float64(n.committed()) }),
		gauge("etcd_server_proposals_applied_total", "Index of the newest applied entry.",
			func() float64 { return float64(n.progress.applied.Load()) }),
		gauge("etcd_server_proposals_pending", "Proposals that wait for an answer.",
			func() float64 { return float64(n.line.pending()) }),
		gauge("cleat_raft_log_bytes", "Bytes written to the raft log since the newest label.",
			func() float64 { return float64(n.disk.sinceLabel()) }),
		gauge("cleat_raft_log_write_seconds", "Age of the write to the raft log that is running; 0 if none is.",
			func() float64 { return n.disk.writeAge().Seconds() }),
	}
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func claim(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func (m *metrics) wrote(took time.Duration, bytes int64) {
	m.fsync.Observe(took.Seconds())
	m.written.Add(float64(bytes))
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, r.Register(c))
	}
	m.registerer = r
	if err := errors.Join(errs...); err != nil {
		m.unregister()
		return fmt.Errorf("raft: register metrics: %w", err)
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}
