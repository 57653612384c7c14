// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	expiry   *prometheus.GaugeVec
	renewals *prometheus.CounterVec
	issued   *prometheus.CounterVec
	locked   prometheus.Gauge
}

// newMetrics registers with r, or nowhere if r is nil.
func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	m := metrics{
		expiry: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cleat_pki_certificate_expiry_timestamp_seconds",
			Help: "When the certificate ends, as a Unix time, by kind: root, intermediate, member.",
		}, []string{"kind"}),
		renewals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cleat_pki_renewals_total",
			Help: "Renewals of this member's certificate, by result: ok, failed.",
		}, []string{"result"}),
		issued: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cleat_pki_certificates_issued_total",
			Help: "Certificates that this member issued, by profile: peer, client, server.",
		}, []string{"profile"}),
		locked: f.NewGauge(prometheus.GaugeOpts{
			Name: "cleat_pki_locked",
			Help: "1 if this member cannot open the CA's key, and so issues nothing.",
		}),
	}
	for _, result := range []string{"ok", "failed"} {
		m.renewals.WithLabelValues(result)
	}
	for profile := range templates {
		m.issued.WithLabelValues(string(profile))
	}
	return m
}

func (m metrics) expires(kind string, cert *x509.Certificate) {
	m.expiry.WithLabelValues(kind).Set(float64(cert.NotAfter.Unix()))
}
