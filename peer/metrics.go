// SPDX-License-Identifier: Apache-2.0

package peer

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ refused *prometheus.CounterVec }

func newMetrics(registry prometheus.Registerer, l *links) *metrics {
	m := &metrics{refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cleat_peer_refused_total", Help: "Connections that the peer door refused, by reason.",
	}, []string{"reason"})}
	open := func(dialed bool, direction string) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "cleat_peer_connections", Help: "Open connections to and from other members.",
			ConstLabels: prometheus.Labels{"direction": direction},
		}, func() float64 { return float64(l.count(func(l *link) bool { return l.dialed == dialed })) })
	}
	expired := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "cleat_peer_expired_total", Help: "Connections that were cut because a certificate ended before they were made anew.",
	}, func() float64 { return float64(l.expired.Load()) })
	if registry != nil {
		registry.MustRegister(m.refused, expired, open(true, "out"), open(false, "in"))
	}
	return m
}
