// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

func TestProbes(t *testing.T) {
	s := startServer(t, nil)
	full := func(on bool) {
		s.apply(t, state.AlarmCommand(state.Identity{}, state.Alarm{Type: pb.AlarmType_NOSPACE, Member: 42}, on))
	}
	healthy := `{"health":"true","reason":""}`
	cases := []struct {
		name, path string
		arrange    func()
		code       int
		body       string
	}{
		{"healthy", "/health", nil, 200, healthy},
		{"alive", "/livez", nil, 200, "ok\n"},
		{"ready", "/readyz", nil, 200, "ok\n"},
		{"alive, in detail", "/livez?verbose", nil, 200, "[+]serializable_read ok\nok\n"},
		{"ready, in detail", "/readyz?verbose", nil, 200,
			"[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"},
		{"one check", "/readyz/linearizable_read", nil, 200, "ok\n"},
		{"unknown check", "/readyz/nothing", nil, 404, "404 page not found\n"},
		{"unknown exclusion", "/readyz?exclude=nothing", nil, 200, "ok\n"},
		{"disk full", "/health", func() { full(true) }, 503, `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{"disk full, excluded", "/health?exclude=NOSPACE", nil, 200, healthy},
		{"no leader", "/health", func() { full(false); s.node.fail(nodeFaults{leaderOff: true}) }, 503,
			`{"health":"false","reason":"RAFT NO LEADER"}` + "\n"},
		{"no leader, read locally", "/health?serializable=true", nil, 200, healthy},
		{"no quorum", "/health", func() { s.node.fail(nodeFaults{sync: raft.ErrNoLeader}) }, 503,
			`{"health":"false","reason":"RANGE ERROR:etcdserver: no leader"}` + "\n"},
		{"no quorum, alive", "/livez", nil, 200, "ok\n"},
		{"no quorum, not ready", "/readyz", nil, 503,
			"[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n\n"},
		{"no quorum, excluded", "/readyz?exclude=linearizable_read", nil, 200, "ok\n"},
		{"no quorum, the check that passes", "/readyz/serializable_read", nil, 200, "ok\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.arrange != nil {
				c.arrange()
			}
			if code, body := s.get(t, c.path); code != c.code || body != c.body {
				t.Fatalf("got %d %q, want %d %q", code, body, c.code, c.body)
			}
		})
	}
	for _, path := range []string{"/health", "/readyz", "/version"} {
		if code, _ := s.post(t, path, ""); code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: got %d", path, code)
		}
	}
}

func TestTheGatewayAnswersUnderItsOldName(t *testing.T) {
	s := startServer(t, nil)
	for path, want := range map[string]int{"/v3beta/kv/put": 200, "/v3beta/kv/nothing": 404, "/v3alpha/kv/put": 404} {
		if code, body := s.post(t, path, `{"key":"YQ=="}`); code != want {
			t.Errorf("%s: got %d %s, want %d", path, code, body, want)
		}
	}
}

func TestVersionAndMetrics(t *testing.T) {
	s := startServer(t, nil)
	if code, body := s.get(t, "/version"); code != 200 ||
		body != `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0","cleat":"0.0.1-test"}` {
		t.Fatalf("%d %s", code, body)
	}
	if _, err := s.client(t).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	code, body := s.get(t, "/metrics")
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="NotFound",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 0`,
		`etcd_server_client_requests_total{client_api_version="3.7",type="unary"} 1`,
		`etcd_server_request_duration_seconds_count{success="true",type="Put"} 1`,
		`etcd_network_client_grpc_received_bytes_total 6`,
	} {
		if code != 200 || !strings.Contains(body, want+"\n") {
			t.Errorf("%d, %s is missing", code, want)
		}
	}
}

func TestGatewaySpeaksJSONAsEtcdDoes(t *testing.T) {
	s := startServer(t, nil)
	header := `{"header":{"cluster_id":"9223372036854775815", "member_id":"42", "revision":"2", "raft_term":"3"}`
	cases := []struct{ name, path, request, reply string }{
		{"put", "/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`, header + `}`},
		{"range", "/v3/kv/range", `{"key":"Zm9v","unknown":1}`, header +
			`, "kvs":[{"key":"Zm9v", "create_revision":"2", "mod_revision":"2", "version":"1", "value":"YmFy"}], "count":"1"}`},
		{"transaction", "/v3/kv/txn", `{"compare":[{"key":"Zm9v","target":"VERSION","version":"1"}],"success":[{"request_range":{"key":"Zm9v","count_only":true}}]}`,
			header + `, "succeeded":true, "responses":[{"response_range":{"header":{"revision":"2"}, "count":"1"}}]}`},
		{"lease", "/v3/lease/grant", `{"ID":"77","TTL":"100"}`, header + `, "ID":"77", "TTL":"100"}`},
		{"lease, by its other path", "/v3/kv/lease/timetolive", `{"ID":77}`, header + `, "ID":"77", "TTL":"100", "grantedTTL":"100"}`},
		{"keep alive", "/v3/lease/keepalive", `{"ID":77}`, `{"result":` + header + `, "ID":"77", "TTL":"100"}}` + "\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, body := s.post(t, c.path, c.request)
			if code != 200 || compacted(t, body) != compacted(t, c.reply) {
				t.Fatalf("got %d %s, want %s", code, body, c.reply)
			}
		})
	}
	code, body := s.post(t, "/v3/kv/range", `{}`)
	if code != 400 || !strings.Contains(body, "etcdserver: key is not provided") {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body := s.post(t, "/v3/auth/enable", `{}`); code != 400 || !strings.Contains(body, "etcdserver: root user does not exist") {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body := s.post(t, "/v3/maintenance/downgrade", `{}`); code != 400 || !strings.Contains(body, "etcdserver: ") {
		t.Fatalf("got %d %s", code, body)
	}
}

// compacted removes the white space that protojson varies on purpose.
func compacted(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestGatewayWatchesLineByLine(t *testing.T) {
	s := startServer(t, nil)
	reply, err := s.web(t).Post("http://cleat/v3/watch", "application/json", strings.NewReader(`{"create_request":{"key":"Zm9v"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	want := func(text string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(strings.ReplaceAll(lines.Text(), " ", ""), text) {
			t.Fatalf("got %q, %v; want %s", lines.Text(), lines.Err(), text)
		}
	}
	want(`"created":true`)
	if code, body := s.post(t, "/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	want(`"events":[{"kv":{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}}]`)
}

// A value of a stream is held until it is whole, so it has a bound; values may be
// many, and their sum has none.
func TestAStreamsValuesAreBounded(t *testing.T) {
	const most = 1000
	text := func(size int) string { return fmt.Sprintf("%*s\n", size-1, `{"key":"YQ=="}`) }
	whole := boundedJSON{new(runtime.JSONPb), func() int64 { return most }}.NewDecoder(strings.NewReader(strings.Repeat(text(most), 5) + text(3*most)))
	for i := range 5 {
		var r pb.RangeRequest
		if err := whole.Decode(&r); err != nil || string(r.Key) != "a" {
			t.Errorf("value %d: %v, %v", i, &r, err)
		}
	}
	if err := whole.Decode(new(pb.RangeRequest)); err == nil {
		t.Error("a value that is too long was taken in")
	}
}

func TestProfilesAreForRoot(t *testing.T) {
	for root, want := range map[bool]int{true: http.StatusOK, false: http.StatusForbidden} {
		s := startServer(t, func(c *Config) {
			c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return state.Identity{Root: root, Name: "alice"}, nil }
		})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline"} {
			if code, _ := s.get(t, path); code != want {
				t.Errorf("root %t: %s: %d", root, path, code)
			}
		}
		if code, body := s.get(t, "/debug/vars"); code != http.StatusOK || !json.Valid([]byte(body)) {
			t.Errorf("root %t: variables: %d %s", root, code, body)
		}
	}
}
