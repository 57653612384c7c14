// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Names and meanings are etcd's, so that its dashboards work.

type tableMetrics struct {
	granted, revoked prometheus.Counter
	ttl              prometheus.Histogram
}

// newTableMetrics also tells how many leases there are.
func newTableMetrics(reg prometheus.Registerer, leases func() float64) tableMetrics {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{Name: "cleat_leases", Help: "Leases that there are."}, leases)
	return tableMetrics{
		granted: counter(reg, "lease", "granted_total", "The total number of granted leases."),
		revoked: counter(reg, "lease", "revoked_total", "The total number of revoked leases."),
		ttl: promauto.With(reg).NewHistogram(prometheus.HistogramOpts{
			Namespace: "etcd_debugging", Subsystem: "lease", Name: "ttl_total",
			Help:    "Bucketed histogram of lease TTLs.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 24), // one second to three months
		}),
	}
}

type keeperMetrics struct{ renewed, expired prometheus.Counter }

func newKeeperMetrics(reg prometheus.Registerer) keeperMetrics {
	return keeperMetrics{
		renewed: counter(reg, "lease", "renewed_total", "The number of renewed leases seen by the leader."),
		expired: counter(reg, "server", "lease_expired_total", "The total number of expired leases."),
	}
}

func counter(reg prometheus.Registerer, subsystem, name, help string) prometheus.Counter {
	return promauto.With(reg).NewCounter(prometheus.CounterOpts{
		Namespace: "etcd_debugging", Subsystem: subsystem, Name: name, Help: help,
	})
}
