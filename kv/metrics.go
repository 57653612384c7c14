// SPDX-License-Identifier: Apache-2.0

package kv

import "github.com/prometheus/client_golang/prometheus"

// metrics carry etcd's names where they mean the same.
type metrics struct {
	puts, deletes, ranges, txns prometheus.Counter
	removed                     prometheus.Counter
	putBytes, compacted         prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, s *Store) *metrics {
	m := &metrics{
		puts:    prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_mvcc_put_total", Help: "Keys put."}),
		deletes: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_mvcc_delete_total", Help: "Keys deleted."}),
		ranges:  prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_mvcc_range_total", Help: "Ranges read."}),
		txns:    prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_mvcc_txn_total", Help: "Writing transactions of more than one change or range."}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_debugging_mvcc_db_compaction_keys_total", Help: "Versions of keys that compactions removed."}),

		putBytes:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_total_put_size_in_bytes", Help: "Bytes of keys and values put."}),
		compacted: prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_db_compaction_last", Help: "When a compaction ended last, in seconds since 1970."}),
	}
	if r == nil {
		return m
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	r.MustRegister(m.puts, m.deletes, m.ranges, m.txns, m.removed, m.putBytes, m.compacted,
		gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes on disk.", func() float64 { total, _ := s.Size(); return float64(total) }),
		gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes on disk that hold data.", func() float64 { _, used := s.Size(); return float64(used) }),
		gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", func() float64 { return float64(s.Revision()) }),
		gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction.", func() float64 { return float64(s.Compacted()) }),
		gauge("cleat_kv_applied_index", "The log index of the newest commit.", func() float64 { return float64(s.AppliedIndex()) }),
		gauge("cleat_kv_durable_index", "The newest log index that a flush covers.", func() float64 { return float64(s.DurableIndex()) }),
	)
	return m
}

// events counts what a commit changed.
func (m *metrics) events(events []Event) {
	deleted, bytes := 0, 0
	for _, e := range events {
		if e.Delete {
			deleted++
			continue
		}
		bytes += len(e.Record.Key()) + len(e.Record.Value())
	}
	m.putBytes.Add(float64(bytes))
	m.deletes.Add(float64(deleted))
	m.puts.Add(float64(len(events) - deleted))
}
