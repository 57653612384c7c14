// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/version"
)

// The versions that clients are told are those of the etcd whose API this is:
// clients decide by them which features they may use. ClusterVersion is that of
// the cluster, which metrics tell as well.
const (
	ClusterVersion = "3.7.0"
	storageVersion = "3.7.0"
)

// newWeb returns the HTTP/1.1 server of both doors.
func (s *Server) newWeb() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/v3/", s.gateway)
	mux.Handle("/v3beta/", renamed(s.gateway))
	mux.HandleFunc("/health", s.serveHealth)
	mux.HandleFunc("/version", s.serveVersion)
	if s.config.Gatherer != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(s.config.Gatherer, promhttp.HandlerOpts{}))
	}
	s.addProbes(mux)
	s.addDebug(mux)
	// A browser shows the user's certificate to whatever page asks.
	ownSite := http.NewCrossOriginProtection()
	return &http.Server{
		Handler:           refuseStrangers(ownSite.Handler(mux)),
		ConnContext:       withCaller,
		ConnState:         s.talks.follow,
		ReadHeaderTimeout: handshakeLimit,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // faults of clients
	}
}

// renamed serves the gateway under the name that it had in etcd 3.3, as etcd
// still does.
func renamed(gateway http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := r.Clone(r.Context())
		now.URL.Path = "/v3/" + strings.TrimPrefix(r.URL.Path, "/v3beta/")
		now.URL.RawPath = ""
		gateway.ServeHTTP(w, now)
	})
}

// refuseStrangers answers callers whom the door let in only to be told.
func refuseStrangers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who, err := httpCallerOf(r.Context()); err != nil {
			text := err.Error()
			if who != nil {
				text = messageOf(err)
			}
			http.Error(w, text, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !onlyGet(w, r) {
		return
	}
	v := struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
		Cleat   string `json:"cleat,omitempty"`
	}{version.Version, ClusterVersion, storageVersion, s.config.Version}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, v)
}

func onlyGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(text) // a client that has left needs no answer
}
