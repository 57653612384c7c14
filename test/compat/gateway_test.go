// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// post sends JSON in which @text stands for text in base64.
func (s *side) post(path string, bodies ...string) {
	s.Helper()
	for _, body := range bodies {
		s.fetch("POST", path, encoded(body))
	}
}

func encoded(body string) string {
	words := strings.Split(body, "@")
	for i, word := range words[1:] {
		text, rest, _ := strings.Cut(word, `"`)
		words[i+1] = base64.StdEncoding.EncodeToString([]byte(text)) + `"` + rest
	}
	return strings.Join(words, "")
}

func TestGatewayKeys(t *testing.T) { alike(t, both, gatewayKeys) }

func gatewayKeys(s *side) {
	s.post("/v3/kv/put",
		`{"key":"@a","value":"@1"}`, `{"key":"@a","value":"@2","prev_kv":true}`, `{"key":"@b","value":"@x","prevKv":true}`, `{"key":"@c"}`,
		`{}`, ``, `{"key":""}`, `{"key":"@a","lease":"99"}`, `{"key":"@a","lease":99}`, `{"key":"@none","ignore_value":true}`,
		`{"key":"@d","value":"@x","unknown":[1,{"a":null}]}`, `{"key":"@e","lease":null}`)
	s.post("/v3/kv/range",
		`{"key":"@a"}`, `{"key":"@a","range_end":"@z"}`, `{"key":"@a","range_end":"@z","limit":"1"}`, `{"key":"@a","range_end":"@z","limit":2,"keys_only":true}`,
		`{"key":"@a","range_end":"@z","sort_order":"DESCEND","sort_target":"VALUE"}`, `{"key":"@a","range_end":"@z","sort_order":2}`,
		`{"key":"@a","sort_order":"SIDEWAYS"}`, `{"key":"@a","sort_order":9}`, `{"key":"@a","range_end":"AA==","count_only":true}`,
		`{"key":"@a","revision":"2"}`, `{"key":"@a","revision":"99"}`, `{"key":"@none"}`, `{}`, `{"key":"@a","serializable":true}`)
	s.post("/v3/kv/txn",
		`{"compare":[{"key":"@a","target":"VALUE","result":"EQUAL","value":"@2"}],"success":[{"request_put":{"key":"@a","value":"@3"}},{"request_range":{"key":"@a"}}],"failure":[{"request_delete_range":{"key":"@a"}}]}`,
		`{"compare":[{"key":"@a","target":"MOD","result":"GREATER","mod_revision":"77"}],"failure":[{"request_delete_range":{"key":"@a","prev_kv":true}},{"request_txn":{"success":[{"request_put":{"key":"@n"}}]}}]}`,
		`{}`, `{"success":[{}]}`, `{"success":[{"request_put":{"key":"@a"}},{"request_put":{"key":"@a"}}]}`, `{"success":[{"request_put":{"key":"@a"},"request_range":{"key":"@a"}}]}`)
	s.post("/v3/kv/deleterange", `{"key":"@b","prev_kv":true}`, `{"key":"@b"}`, `{"key":"@c","range_end":"@z"}`, `{}`)
	s.post("/v3/kv/compaction", `{"revision":"3"}`, `{"revision":"3"}`, `{"revision":"99"}`, `{}`, `{"revision":4,"physical":true}`)
	s.post("/v3/kv/range", `{"key":"@a","revision":"2"}`, `{"key":"AA==","range_end":"AA=="}`)
}

func TestGatewayLeases(t *testing.T) { alike(t, both, gatewayLeases) }

func gatewayLeases(s *side) {
	s.post("/v3/lease/grant", `{"ID":"7","TTL":"1000"}`, `{"ID":7,"TTL":1000}`, `{"ID":"8","TTL":"9000000001"}`)
	s.post("/v3/kv/put", `{"key":"@a","lease":"7"}`, `{"key":"@b","lease":"7"}`)
	s.post("/v3/lease/timetolive", `{"ID":"99"}`, `{}`)
	s.post("/v3/kv/lease/timetolive", `{"ID":"99","keys":true}`)
	s.post("/v3/lease/leases", `{}`, ``)
	s.post("/v3/kv/lease/leases", `{}`)
	s.post("/v3/lease/grant", `{"ID":"3","TTL":"500"}`)
	s.post("/v3/lease/keepalive", `{"ID":"7"}`, `{"ID":"99"}`, `{}`, `{"ID":"7"}{"ID":"99"}`, "{\"ID\":\"7\"}\n{\"ID\":\"8\"}\n", ``)
	s.post("/v3/lease/revoke", `{"ID":"7"}`, `{"ID":"7"}`, `{}`)
	s.post("/v3/kv/lease/revoke", `{"ID":"3"}`)
	s.post("/v3/kv/range", `{"key":"AA==","range_end":"AA=="}`)
}

func TestGatewayRefuses(t *testing.T) {
	alike(t, both, func(s *side) {
		s.post("/v3/kv/range", `{`, `[]`, `"key"`, `null`, `{"key":1}`, `{"key":"!"}`, `{"key":"YQ"}`, `{"key":"@a"} trailing`, `{"key":"@a"}{"key":"@b"}`,
			`{"key":"@a","limit":"many"}`, `{"key":"@a","limit":1.5}`, `{"key":"@a","key":"@b"}`, `{"key":"@a","limit":9223372036854775808}`, "\xff\xfe", strings.Repeat("[", 20000))
		for _, method := range []string{"GET", "PUT", "DELETE", "HEAD", "PATCH"} {
			s.fetch(method, "/v3/kv/range", "")
		}
		s.excused("pages of other sites", func() { s.fetch("OPTIONS", "/v3/kv/range", "") })
		for _, path := range []string{
			"/v3/kv/nothing", "/v3/kv/range/", "/v3/kv", "/v3/", "/v3", "/v3beta/kv/range", "/v3alpha/kv/range", "/v2/keys/a", "/", "/nothing",
			"/v3/kv/Range", "//v3/kv/range", "/v3/kv/rangestream", "/v3/kv/range?key=YQ==",
		} {
			s.post(path, `{"key":"@a"}`)
			s.fetch("GET", path, "")
		}
	})
}

func TestGatewayWatch(t *testing.T) { alike(t, both, gatewayWatches) }

func gatewayWatches(s *side) {
	s.ask(put("a", "1"), put("a", "2"))
	s.watchOnce(`{"create_request":{"key":"@a"}}`, 1)
	s.watchOnce(fmt.Sprintf(`{"create_request":{"key":"@a","start_revision":"%d","prev_kv":true}}`, s.base+2), 2)
	s.watchOnce(`{"create_request":{"key":"@a","range_end":"AA==","filters":["NODELETE"],"watch_id":"7"}}`, 1)
}

// watchOnce writes down a watch: so many responses, and, when they have come,
// what a put brings about.
func (s *side) watchOnce(body string, responses int) {
	s.Helper()
	response := s.request("POST", "/v3/watch", encoded(body))
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	said := heading(response)
	next := func() {
		if !lines.Scan() {
			s.Fatalf("%s: the watch ended after %s: %v", s.name, said, lines.Err())
		}
		said += canonical(lines.Text())
	}
	for range responses {
		next()
	}
	s.ask(put("a", fmt.Sprint("put by ", len(s.transcript))))
	next()
	s.note("watch "+body, said)
}
