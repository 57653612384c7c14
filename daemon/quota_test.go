// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
)

func TestAQuotaCountsWhatWasLetIn(t *testing.T) {
	size := int64(400)
	q := newQuota(1000, func() int64 { return size }, slog.New(slog.DiscardHandler))
	checks := func(short, roomy bool) {
		t.Helper()
		if s, r := q.check(); s != short || r != roomy {
			t.Errorf("at %d: short %t, roomy %t", size, s, r)
		}
	}
	checks(false, true)
	if !q.admit(300) || !q.admit(299) || q.admit(1) {
		t.Error("599 bytes fit and no more")
	}
	size = 951
	checks(false, false)
	size = 1000
	checks(true, false)
	size = 950
	checks(false, true)
	none := newQuota(-1, nil, nil)
	if short, roomy := none.check(); short || !roomy || !none.admit(1<<40) {
		t.Error("there is no quota")
	}
}

// Without a leader the alarm takes its time: one request may wait for it, not each
// for all before it.
func TestWhoIsRefusedDoesNotWaitForWhoRaisesTheAlarm(t *testing.T) {
	d := &Daemon{space: new(space), quota: newQuota(1000, func() int64 { return 999 }, slog.New(slog.DiscardHandler))}
	d.space.enough.Store(true)
	d.raising.Store(true)
	if d.room(t.Context(), 1) { // which would need a node to raise it
		t.Error("a byte too many was let in")
	}
}

// A write that is larger than what is left does not stop those that are not, when
// what is left would be enough to take the alarm back.
func TestAWriteThatNeverFitsRaisesNoAlarm(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.QuotaBytes = 1 << 20
	l := begin(t, o)
	if err := l.put("x", 1200<<10); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("more than the quota: %v", err)
	}
	if alarms, err := l.client.AlarmList(within(t)); err != nil || len(alarms.Alarms) != 0 {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	if err := l.put("y", 1); err != nil {
		t.Errorf("a little: %v", err)
	}
}

// A member over its quota stops what stores at every member, and takes its
// alarm back when it has room; what somebody else has raised stays.
func TestAQuotaStopsAllMembersUntilThereIsRoom(t *testing.T) {
	a, b := advertised(t, "one"), advertised(t, "two")
	a.Config.QuotaBytes = 8 << 20
	one, two := begin(t, a), begin(t, b)
	two.join(one.invite(&admin.InviteRequest{}))
	two.voter()
	n := 0
	for ; n < 64; n++ { // at the member without a quota
		if err := two.put(fmt.Sprint(n), 1<<20); errors.Is(err, rpctypes.ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	alarms, err := two.client.AlarmList(within(t))
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm != pb.AlarmType_NOSPACE || alarms.Alarms[0].MemberID != one.d.dir.memberID() {
		t.Fatalf("after %d puts: %v, %v", n, alarms, err)
	}
	if s, err := one.client.Status(within(t), "unix://"+one.d.config().Socket); err != nil || s.DbSizeQuota != 8<<20 || s.DbSize < 7<<20 || len(s.Errors) != 1 {
		t.Errorf("status: %v, %v", s, err)
	}
	if _, err := two.client.Grant(within(t), 60); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("grant: %v", err)
	}
	revision := two.deleteAll(within(t), n)
	if _, err := two.client.Compact(within(t), revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	two.await("writes come back", nil)
	if alarms, err := one.client.AlarmList(within(t)); err != nil || len(alarms.Alarms) != 0 {
		t.Errorf("%v, %v", alarms, err)
	}

	raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: one.d.dir.memberID()}
	if _, err := pb.NewMaintenanceClient(two.client.ActiveConnection()).Alarm(within(t), raise); err != nil {
		t.Fatal(err)
	}
	if err := two.put("x", 1); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("an alarm that was raised by hand: %v", err)
	}
	if _, err := two.client.AlarmDisarm(within(t), (*clientv3.AlarmMember)(&pb.AlarmMember{})); err != nil {
		t.Error(err)
	}
	if err := two.put("x", 1); err != nil {
		t.Error(err)
	}
}
