// SPDX-License-Identifier: Apache-2.0

package api

import (
	"expvar"
	"fmt"
	"net/http"
	"net/http/pprof"
)

// addDebug offers what Go tells of a program: its variables to everybody, as
// etcd does, and profiles, which cost the member something and show its memory,
// to the administrator.
func (s *Server) addDebug(mux *http.ServeMux) {
	mux.HandleFunc("/debug/vars", serveVars)
	for path, serve := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle(path, onlyRoot(serve))
	}
}

func serveVars(w http.ResponseWriter, r *http.Request) {
	if !onlyGet(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	// Libraries add variables of their own, of parts of them that do not run.
	_, _ = fmt.Fprintf(w, "{\n%q: %s,\n%q: %s\n}\n", // a client that has left needs no answer
		"cmdline", expvar.Get("cmdline"), "memstats", expvar.Get("memstats"))
}

func onlyRoot(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who, err := httpCallerOf(r.Context()); err != nil || !who.identity.Root {
			http.Error(w, "cleat: only the administrator may do this: use the Unix socket as root", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
