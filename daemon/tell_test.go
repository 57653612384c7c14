// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	dto "github.com/prometheus/client_model/go"

	"github.com/cleatd/cleat/admin"
)

// told asks a member for all, and returns what it says of each by name.
func (l *life) told(metrics ...string) (*admin.StatusResponse, map[string]*admin.MemberStatus) {
	l.t.Helper()
	reply, err := l.administer().Status(within(l.t), &admin.StatusRequest{Members: true, Metrics: metrics})
	if err != nil {
		l.t.Fatal(err)
	}
	found := map[string]*admin.MemberStatus{}
	for _, m := range reply.Members {
		found[m.Name] = m
	}
	return reply, found
}

func TestEachMemberTellsHowAllAre(t *testing.T) {
	members := three(t)
	if _, err := members[0].client.MemberAddAsLearner(within(t), []string{"https://later:2380"}); err != nil {
		t.Fatal(err)
	}
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: 5}
	if _, err := clientv3.RetryMaintenanceClient(members[0].client, members[0].connection()).Alarm(within(t), alarm); err != nil {
		t.Fatal(err)
	}
	for _, l := range members {
		if err := l.d.node.Sync(within(t)); err != nil {
			t.Fatal(err)
		}
		own, all := l.told("etcd_server_has_leader", "there_is_none")
		if own.Name != l.d.config().Name || len(all) != 4 || len(own.Alarms) != 1 || own.Alarms[0].Type != "NOSPACE" || own.Alarms[0].Member != 5 {
			t.Fatalf("%s says %v", l.d.config().Name, own)
		}
		if late := all[""]; late == nil || !late.Announced || !late.Learner || late.Status != nil || late.Unreached == "" {
			t.Errorf("of who is announced %s says %v", own.Name, late)
		}
		for _, other := range members {
			m := all[other.d.config().Name]
			s := m.GetStatus()
			if s.GetMemberId() != m.GetId() || s.GetName() != m.GetName() || s.GetRaft().GetLeader() != own.Raft.Leader || len(s.GetCertificates()) != 3 || len(s.GetMembers()) != 0 {
				t.Errorf("of %s %s says %v", other.d.config().Name, own.Name, m)
			}
			if other != l && (m.Ahead.AsDuration().Abs() > m.RoundTrip.AsDuration() || m.RoundTrip.AsDuration() <= 0) {
				t.Errorf("one machine's clock differs from itself by %v within %v", m.Ahead.AsDuration(), m.RoundTrip.AsDuration())
			}
			leads := new(dto.MetricFamily)
			if len(s.GetMetrics()) != 1 || proto.Unmarshal(s.Metrics[0], leads) != nil || leads.GetMetric()[0].GetGauge().GetValue() != 1 {
				t.Errorf("of %s %s has %d metrics, %v", other.d.config().Name, own.Name, len(s.GetMetrics()), leads)
			}
		}
	}
}

// Nobody leads any more, and one member is not there.
func TestAMemberThatIsDownIsToldAsSuch(t *testing.T) {
	members := three(t)
	for _, l := range members[1:] {
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
	}
	eventuallyTold(t, members[0], func(own *admin.StatusResponse, all map[string]*admin.MemberStatus) error {
		for _, name := range []string{"two", "three"} {
			if m := all[name]; m.GetStatus() != nil || m.GetUnreached() == "" {
				return fmt.Errorf("of %s: %v", name, m)
			}
		}
		if all["one"].GetStatus() == nil || own.Raft.Leader != 0 {
			return fmt.Errorf("of itself: %v", own)
		}
		return nil
	})
}

func eventuallyTold(t *testing.T, l *life, check func(*admin.StatusResponse, map[string]*admin.MemberStatus) error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check(l.told())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
