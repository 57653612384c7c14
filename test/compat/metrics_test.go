// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// scraped are the metrics of a side: of each name its type and the names of its
// labels, and the values of those without labels.
type scraped struct {
	kinds  map[string]string
	labels map[string]string
	values map[string]string
}

func (s *side) scrape() scraped {
	s.Helper()
	response := s.request("GET", "/metrics", "")
	defer response.Body.Close()
	found := scraped{map[string]string{}, map[string]string{}, map[string]string{}}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 4 && words[1] == "TYPE":
			found.kinds[words[2]] = words[3]
		case words[0] == "#":
		default:
			name, labels, labelled := strings.Cut(strings.TrimSuffix(strings.Join(words[:len(words)-1], " "), "}"), "{")
			if !labelled {
				found.values[name] = words[len(words)-1]
			}
			found.labels[name] = labelNames(labels)
		}
	}
	if err := lines.Err(); err != nil {
		s.Fatalf("%s: %v", s.name, err)
	}
	return found
}

func labelNames(labels string) string {
	var names []string
	for _, pair := range strings.Split(labels, `",`) {
		if name, _, found := strings.Cut(pair, "="); found && name != "le" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// notAlike are metrics of etcd's name whose kind is another, each with its reason.
var notAlike = map[string]string{
	"etcd_disk_wal_write_bytes_total": "only grows, so it is a counter; in etcd it is a gauge by mistake",
}

// Whatever has etcd's name is of etcd's kind and has its labels: dashboards and
// rules for etcd work. These must be there.
func TestMetricsHaveEtcdsNamesAndLabels(t *testing.T) {
	t.Parallel()
	needed := []string{
		"etcd_cluster_version", "etcd_debugging_lease_granted_total", "etcd_debugging_lease_renewed_total", "etcd_debugging_lease_revoked_total",
		"etcd_debugging_lease_ttl_total", "etcd_debugging_mvcc_compact_revision", "etcd_debugging_mvcc_current_revision",
		"etcd_debugging_mvcc_db_compaction_keys_total", "etcd_debugging_mvcc_db_compaction_last", "etcd_debugging_mvcc_events_total",
		"etcd_debugging_mvcc_pending_events_total", "etcd_debugging_mvcc_slow_watcher_total", "etcd_debugging_mvcc_total_put_size_in_bytes",
		"etcd_debugging_mvcc_watch_stream_total", "etcd_debugging_mvcc_watcher_total", "etcd_debugging_server_lease_expired_total",
		"etcd_disk_wal_fsync_duration_seconds", "etcd_disk_wal_write_bytes_total", "etcd_mvcc_db_total_size_in_bytes",
		"etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_mvcc_delete_total", "etcd_mvcc_put_total", "etcd_mvcc_range_total", "etcd_mvcc_txn_total",
		"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total", "etcd_server_client_requests_total",
		"etcd_server_go_version", "etcd_server_has_leader", "etcd_server_health_failures", "etcd_server_health_success", "etcd_server_healthcheck",
		"etcd_server_healthchecks_total", "etcd_server_id", "etcd_server_is_leader", "etcd_server_is_learner", "etcd_server_leader_changes_seen_total",
		"etcd_server_proposals_applied_total", "etcd_server_proposals_committed_total", "etcd_server_proposals_failed_total",
		"etcd_server_proposals_pending", "etcd_server_quota_backend_bytes", "etcd_server_read_indexes_failed_total",
		"etcd_server_request_duration_seconds", "etcd_server_version", "etcd_debugging_server_alarms", "grpc_server_handled_total",
		"grpc_server_msg_received_total", "grpc_server_msg_sent_total", "grpc_server_started_total", "os_fd_limit", "os_fd_used", "process_start_time_seconds",
	}
	body := func(s *side) scraped {
		s.ask(put("a", "1"), get("a", ""), &pb.LeaseGrantRequest{ID: 7, TTL: 60})
		s.fetch("GET", "/livez", "")
		s.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, 5)
		return s.scrape()
	}
	want := body(etcdDoor.open(t, "--quota-backend-bytes=1000000000"))
	got := body(socket.open(t, "--quota-backend-bytes=1000000000"))
	for _, name := range needed {
		if got.kinds[name] == "" || want.kinds[name] == "" {
			t.Errorf("%s: %q here, %q in etcd", name, got.kinds[name], want.kinds[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got.kinds)) {
		switch reason := notAlike[name]; {
		case want.kinds[name] == "" && (strings.HasPrefix(name, "etcd_") || strings.HasPrefix(name, "grpc_")):
			t.Errorf("%s has etcd's name and is not etcd's", name)
		case want.kinds[name] == "":
		case (reason != "") != (got.kinds[name] != want.kinds[name]):
			t.Errorf("%s is a %s, in etcd a %s (exception: %q)", name, got.kinds[name], want.kinds[name], reason)
		}
	}
	for name, labels := range got.labels {
		if etcds, both := want.labels[name]; both && etcds != labels {
			t.Errorf("%s has the labels %q, in etcd %q", name, labels, etcds)
		}
	}
}

// What is counted is counted alike.
func TestMetricsCountAlike(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		before := s.scrape()
		s.ask(put("a", "1"), put("a", "2"), put("b", "1"), get("a", ""), everything(), get("none", ""),
			then(opPut("a", "3"), opPut("c", "1")), then(opPut("d", "1")), then(opGet("a", ""), opGet("b", "")), then(opDelete("d", ""), opGet("a", "")),
			del("b", ""), del("none", ""), del("a", "z"), put("", "refused"),
			&pb.LeaseGrantRequest{ID: 7, TTL: 60}, &pb.LeaseGrantRequest{ID: 8, TTL: 60}, &pb.LeaseRevokeRequest{ID: 7},
			&pb.CompactionRequest{Revision: 5, Physical: true})
		after := s.scrape()
		for _, name := range []string{
			"etcd_mvcc_put_total", "etcd_mvcc_delete_total", "etcd_mvcc_txn_total", "etcd_debugging_mvcc_total_put_size_in_bytes", "etcd_debugging_lease_granted_total", "etcd_debugging_lease_revoked_total",
			"etcd_debugging_mvcc_current_revision", "etcd_debugging_mvcc_compact_revision", "etcd_debugging_mvcc_watcher_total",
			"etcd_debugging_mvcc_db_compaction_keys_total", "etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_is_learner",
		} {
			var was, is float64
			_, err := fmt.Sscan(before.values[name]+" "+after.values[name], &was, &is)
			if err != nil {
				s.Errorf("%s: %s: %q, then %q", s.name, name, before.values[name], after.values[name])
			}
			s.note(name, fmt.Sprint("grew by ", is-was, ", to more than nothing: ", is > 0))
		}
	})
}
