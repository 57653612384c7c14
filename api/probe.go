// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/state"
)

// Probes are etcd's: /health for people and old scripts, /livez and /readyz
// for orchestrators, each check also under a path of its own.

type healthMetrics struct {
	successes, failures prometheus.Counter
	last                *prometheus.GaugeVec
	checks              *prometheus.CounterVec
}

func newHealthMetrics() healthMetrics {
	return healthMetrics{
		successes: counter("etcd_server_health_success", "Successful answers of /health."),
		failures:  counter("etcd_server_health_failures", "Failed answers of /health."),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcd_server_healthcheck", Help: "The last result of each check.",
		}, []string{"type", "name"}),
		checks: counters("etcd_server_healthchecks_total", "Checks done, by their result.", "type", "name", "status"),
	}
}

func (m healthMetrics) register(r prometheus.Registerer) {
	r.MustRegister(m.successes, m.failures, m.last, m.checks)
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !onlyGet(w, r) {
		return
	}
	reason := s.unhealthy(r.Context(), querySet(r, "exclude"), r.URL.Query().Get("serializable") == "true")
	text, _ := json.Marshal(struct { // two strings always marshal
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{fmt.Sprint(reason == ""), reason})
	if reason != "" {
		s.metrics.health.failures.Inc()
		s.log.Warn("health: unhealthy", "reason", reason)
		http.Error(w, string(text), http.StatusServiceUnavailable)
		return
	}
	s.metrics.health.successes.Inc()
	_, _ = w.Write(text) // a client that has left needs no answer
}

// unhealthy says why, or nothing.
func (s *Server) unhealthy(ctx context.Context, excluded map[string]bool, serializable bool) string {
	for _, a := range s.alarms() {
		name := a.Alarm.String()
		if excluded[name] {
			continue
		}
		if _, known := pb.AlarmType_name[int32(a.Alarm)]; !known {
			name = "UNKNOWN"
		}
		return "ALARM " + name
	}
	if !serializable && s.config.Node.Status().Leader == 0 {
		return "RAFT NO LEADER"
	}
	if err := s.probeRead(ctx, serializable); err != nil {
		return "RANGE ERROR:" + messageOf(err)
	}
	return ""
}

// probeRead reads a key as a client would.
func (s *Server) probeRead(ctx context.Context, serializable bool) error {
	if !serializable {
		if err := s.sync(ctx, time.Now()); err != nil {
			return fault(s.log, "probe", err)
		}
	}
	// One key, as in etcd: a limit alone would have the rest counted.
	_, err := s.config.Machine.Range(state.Identity{Root: true}, &pb.RangeRequest{Key: []byte{0}, KeysOnly: true}, nil)
	return fault(s.log, "probe", err)
}

// check is one thing that a probe looks at.
type check struct {
	name string
	run  func(context.Context) error
}

func (s *Server) addProbes(mux *http.ServeMux) {
	serializable := check{"serializable_read", func(ctx context.Context) error { return s.probeRead(ctx, true) }}
	linearizable := check{"linearizable_read", func(ctx context.Context) error { return s.probeRead(ctx, false) }}
	corruption := check{"data_corruption", func(context.Context) error { // a damaged file stops the member
		for _, a := range s.alarms() {
			if a.Alarm == pb.AlarmType_CORRUPT {
				return errors.New("alarm activated: " + a.Alarm.String())
			}
		}
		return nil
	}}
	voter := check{"non_learner", func(context.Context) error {
		if s.config.Node.Status().Learner {
			return errors.New("not supported for learner")
		}
		return nil
	}}
	s.addProbe(mux, "livez", serializable)
	s.addProbe(mux, "readyz", corruption, serializable, linearizable, voter)
}

func (s *Server) addProbe(mux *http.ServeMux, kind string, checks ...check) {
	mux.HandleFunc("/"+kind, func(w http.ResponseWriter, r *http.Request) {
		excluded := querySet(r, "exclude")
		included := slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return excluded[c.name] })
		s.serveProbe(w, r, kind, included)
	})
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, func(w http.ResponseWriter, r *http.Request) {
			s.serveProbe(w, r, kind, []check{c})
		})
	}
}

func (s *Server) serveProbe(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	if !onlyGet(w, r) {
		return
	}
	var report strings.Builder
	failed := false
	for _, c := range checks {
		result, value := "success", 1.0
		if err := c.run(r.Context()); err != nil {
			failed, result, value = true, "error", 0
			fmt.Fprintf(&report, "[-]%s failed: %v\n", c.name, messageOf(err))
		} else {
			fmt.Fprintf(&report, "[+]%s ok\n", c.name)
		}
		s.metrics.health.last.WithLabelValues(kind, c.name).Set(value)
		s.metrics.health.checks.WithLabelValues(kind, c.name, result).Inc()
	}
	if failed {
		s.log.Warn("health: check failed", "probe", kind, "report", report.String())
		http.Error(w, report.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		_, _ = w.Write([]byte(report.String())) // as below
	}
	_, _ = w.Write([]byte("ok\n")) // a client that has left needs no answer
}

func querySet(r *http.Request, name string) map[string]bool {
	set := make(map[string]bool)
	for _, v := range r.URL.Query()[name] {
		set[v] = true
	}
	return set
}

// messageOf is the text of an error without gRPC's wrapping.
func messageOf(err error) string {
	if told, ok := status.FromError(err); ok {
		return told.Message()
	}
	return err.Error()
}
