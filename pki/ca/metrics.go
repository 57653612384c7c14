// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/cleatd/cleat/pki"
)

type metrics struct {
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

// newMetrics registers with r, or nowhere if r is nil.
func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	m := metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cleat_ca_requests_total",
			Help: "Requests at the ca door, by the class of the answer's code: 2xx, 4xx, 5xx.",
		}, []string{"code"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cleat_ca_limited_total",
			Help: "What the ca door's limits refused, by what it was: connection, request.",
		}, []string{"what"}),
	}
	for _, what := range []string{"connection", "request"} {
		m.refused.WithLabelValues(what)
	}
	return m
}

// counted counts answers, and tells the log of those that are our fault and the
// audit of whom was refused what.
func (d *Door) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &answer{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(seen, r)
		d.metrics.requests.WithLabelValues(strconv.Itoa(seen.code/100) + "xx").Inc()
		if seen.code >= 500 {
			d.log.Warn("ca door: a request failed", "path", r.URL.Path, "code", seen.code, "cause", seen.cause)
		} else if seen.cause != nil {
			d.authority.Refused(r.Context(), pki.Denial{
				What: "request refused", Door: "ca", Reason: pki.ReasonNotGiven, Remote: r.RemoteAddr, Err: fmt.Errorf("%s: %w", r.URL.Path, seen.cause),
			})
		}
	})
}

// answer remembers the code, and what smallstep's handlers tell of an error.
type answer struct {
	http.ResponseWriter
	code  int
	cause error
}

func (a *answer) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}
