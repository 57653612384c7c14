// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// alarm writes down what an alarm request came to. Members are told apart by
// whether one is named.
func (s *side) alarm(action pb.AlarmRequest_AlarmAction, kind pb.AlarmType, member uint64) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r := &pb.AlarmRequest{Action: action, Alarm: kind, MemberID: member}
	reply, err := pb.NewMaintenanceClient(s.conn).Alarm(ctx, r)
	if err == nil {
		reply.Header.Revision = min(reply.Header.Revision, 1)
		for _, a := range reply.Alarms {
			if a.MemberID > 100 {
				a.MemberID = 100 // the server's own
			}
		}
	}
	s.note(describe(r), outcome(r, reply, err))
}

var alarmedMember = regexp.MustCompile(`memberID:\s*[1-9]\d{3,}`)

// alarms writes down what the server says of its alarms everywhere.
func (s *side) alarms() {
	s.Helper()
	s.alarm(pb.AlarmRequest_GET, pb.AlarmType_NONE, 0)
	for _, path := range []string{"/health", "/health?exclude=NOSPACE", "/health?exclude=CORRUPT", "/health?serializable=true", "/livez", "/readyz?verbose", "/readyz/data_corruption"} {
		s.fetch("GET", path, "")
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	status, err := pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		s.Fatal(err)
	}
	var errs []string
	for _, e := range status.Errors {
		errs = append(errs, alarmedMember.ReplaceAllString(regexp.MustCompile(`\s+`).ReplaceAllString(e, " "), "memberID:1"))
	}
	s.note("errors of the status", fmt.Sprint(errs))
}

// everyVerb asks for one of each that an alarm may stop.
func (s *side) everyVerb() {
	s.Helper()
	s.ask(put("a", "1"), put("", "1"), &pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true},
		then(opPut("a", "1")), &pb.TxnRequest{Failure: []*pb.RequestOp{opPut("a", "1")}}, then(op(then(opPut("a", "1")))),
		then(opGet("a", "")), then(opDelete("b", "")), then(op(then(opDelete("b", "")))), then(),
		del("b", ""), get("a", ""), everything(), &pb.LeaseGrantRequest{ID: 77, TTL: 60}, &pb.LeaseRevokeRequest{ID: 8},
		&pb.LeaseTimeToLiveRequest{ID: 7}, &pb.CompactionRequest{Revision: 2})
	s.post("/v3/kv/put", `{"key":"@a"}`)
}

func TestAlarms(t *testing.T) { alike(t, both, alarmed) }

func alarmed(s *side) {
	for _, kind := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		s.ask(put("a", "1"), put("b", "1"), put("c", "1"), &pb.LeaseGrantRequest{ID: 7, TTL: 600}, &pb.LeaseGrantRequest{ID: 8, TTL: 600})
		s.alarms()
		s.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NONE, 5)
		s.alarm(pb.AlarmRequest_DEACTIVATE, kind, 5)
		s.alarm(pb.AlarmRequest_ACTIVATE, kind, 5)
		s.alarm(pb.AlarmRequest_ACTIVATE, kind, 5)
		s.alarms()
		s.everyVerb()
		s.alarm(pb.AlarmRequest_GET, kind, 0)
		s.alarm(pb.AlarmRequest_GET, kind, 6)
		s.alarm(pb.AlarmRequest_GET, 3-kind, 5)
		s.alarm(pb.AlarmRequest_DEACTIVATE, kind, 6)
		s.alarm(pb.AlarmRequest_DEACTIVATE, kind, 0)
		s.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NONE, 5)
		s.ask(put("a", "2"))
		s.alarm(pb.AlarmRequest_DEACTIVATE, kind, 5)
		s.everyVerb()
		s.ask(&pb.LeaseRevokeRequest{ID: 7}, &pb.LeaseRevokeRequest{ID: 77})
	}
	s.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_CORRUPT, 0)
	s.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, 0)
	s.everyVerb() // the worse of the two is told
	s.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_CORRUPT, 0)
	s.everyVerb()
	s.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NOSPACE, 0)
	s.alarm(pb.AlarmRequest_ACTIVATE, 7, 0) // one that has no name
	s.alarms()
	s.alarm(pb.AlarmRequest_DEACTIVATE, 7, 0)
	s.post("/v3/maintenance/alarm", `{"action":"GET"}`, `{"action":"DEACTIVATE","alarm":"NOSPACE"}`, `{}`, `{"action":"SLEEP"}`)
}

// A quota that is used up: what is refused then, and what is told. How many puts
// fit depends on the storage, and so do the revisions.
func TestQuota(t *testing.T) {
	t.Parallel()
	const quota = 24 << 20
	body := func(s *side) {
		full, n := false, 0
		for ; !full && n < 64; n++ {
			reply, err := call(s.Context(), s.conn, &pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", n), Value: bytes.Repeat([]byte{byte(n)}, 1<<20)})
			full = err != nil && refusal(err) == "ResourceExhausted: etcdserver: mvcc: database space exceeded"
			if err != nil && !full {
				s.Fatalf("%s: put %d: %v, %v", s.name, n, reply, err)
			}
		}
		s.note("a quota is used up", fmt.Sprint(full))
		s.alarms()
		for _, r := range []proto.Message{put("a", "1"), then(opPut("a", "1")), &pb.LeaseGrantRequest{ID: 7, TTL: 60}, get("none", ""), then(opDelete("none", "")), del("none", "")} {
			_, err := call(s.Context(), s.conn, r)
			s.note(describe(r), fmt.Sprint(err))
		}
		status, err := pb.NewMaintenanceClient(s.conn).Status(s.Context(), &pb.StatusRequest{})
		if err != nil {
			s.Fatal(err)
		}
		s.note("the quota told", fmt.Sprint(status.DbSizeQuota, status.DbSize > quota-4<<20, status.DbSizeInUse <= status.DbSize))
	}
	flags := []string{fmt.Sprint("--quota-backend-bytes=", quota)}
	want := etcdDoor.open(t, flags...)
	body(want)
	for _, d := range both {
		t.Run(d.name, func(t *testing.T) {
			got := d.open(t, flags...)
			body(got)
			compare(t, got.transcript, want.transcript)
		})
	}
}
