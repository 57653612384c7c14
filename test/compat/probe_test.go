// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func TestProbes(t *testing.T) { alike(t, both, probes) }

func probes(s *side) {
	for _, path := range []string{
		"/health", "/health?serializable=true", "/health?serializable=false", "/health?exclude=NOSPACE", "/health?exclude=NOSPACE&exclude=CORRUPT", "/health?exclude=",
		"/livez", "/livez?verbose", "/livez?verbose=", "/livez?verbose=true", "/livez?exclude=serializable_read&verbose", "/livez?exclude=none&verbose", "/livez?verbose&exclude=",
		"/livez/serializable_read", "/livez/serializable_read?verbose", "/livez/linearizable_read", "/livez/", "/livez/none",
		"/readyz", "/readyz?verbose", "/readyz?verbose&exclude=data_corruption&exclude=non_learner", "/readyz?exclude=none", "/readyz?verbose&allowlist=data_corruption",
		"/readyz/data_corruption", "/readyz/serializable_read", "/readyz/linearizable_read", "/readyz/non_learner", "/readyz/none", "/readyz/",
		"/health/", "/healthz", "/version/",
	} {
		s.fetch("GET", path, "")
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD"} {
		for _, path := range []string{"/health", "/livez", "/readyz", "/readyz/non_learner", "/version"} {
			s.fetch(method, path, "")
		}
	}
}

// The versions differ, which is their purpose, but not their names.
func TestVersion(t *testing.T) {
	alike(t, both, func(s *side) {
		response := s.request("GET", "/version", "")
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			s.Fatal(err)
		}
		said := make(map[string]string)
		if err := json.Unmarshal(text, &said); err != nil {
			s.Fatalf("%s: %s: %v", s.name, text, err)
		}
		s.excused("version", func() { s.note("GET /version", string(text)) })
		delete(said, "cleat")
		s.note("the members of GET /version", heading(response)+strings.Join(sortedKeys(said), " "))
		s.note("the API of GET /version", said["etcdserver"]+" "+said["etcdcluster"]+" "+said["storage"])
	})
}

// The values are another program's; what there is, is alike.
func TestDebugVariables(t *testing.T) {
	alike(t, both, func(s *side) {
		response := s.request("GET", "/debug/vars", "")
		defer response.Body.Close()
		vars := make(map[string]any)
		if err := json.NewDecoder(response.Body).Decode(&vars); err != nil {
			s.Fatalf("%s: %v", s.name, err)
		}
		s.excused("debug variables", func() { s.note("GET /debug/vars", strings.Join(sortedKeys(vars), " ")) })
		delete(vars, "raft.status")
		delete(vars, "file_descriptor_limit")
		s.note("Go's own of GET /debug/vars", heading(response)+strings.Join(sortedKeys(vars), " "))
		for _, path := range []string{"/debug", "/debug/", "/debug/vars/", "/debug/requests", "/config/local/log"} {
			s.fetch("GET", path, "")
		}
		s.fetch("POST", "/debug/vars", "")
		s.fetch("HEAD", "/debug/vars", "")
	})
}
