// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/state"
)

// While members are known to differ nothing is written, as in etcd; reads tell
// what each of them has.
func TestCorruptionStopsWritesUntilItIsDisarmed(t *testing.T) {
	s := startServer(t, nil)
	conn := s.dial(t)
	kv, maintenance := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn)
	alarm := func(action pb.AlarmRequest_AlarmAction, want int) {
		t.Helper()
		r, err := maintenance.Alarm(t.Context(), &pb.AlarmRequest{Action: action, Alarm: pb.AlarmType_CORRUPT, MemberID: 7})
		if err != nil || len(r.Alarms) != want || r.Header.GetMemberId() != 42 {
			t.Errorf("%v: %v, %v", action, r, err)
		}
	}
	put := func() error {
		_, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
		return err
	}
	alarm(pb.AlarmRequest_ACTIVATE, 1)
	alarm(pb.AlarmRequest_GET, 1)
	if err := put(); !errors.Is(err, rpctypes.ErrGRPCCorrupt) {
		t.Errorf("put: %v", err)
	}
	if _, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")}); err != nil {
		t.Errorf("get: %v", err)
	}
	if r, err := maintenance.Status(t.Context(), &pb.StatusRequest{}); err != nil || len(r.Errors) != 1 {
		t.Errorf("status: %v, %v", r, err)
	}
	alarm(pb.AlarmRequest_DEACTIVATE, 1)
	alarm(pb.AlarmRequest_DEACTIVATE, 0)
	if err := put(); err != nil {
		t.Errorf("put after it was disarmed: %v", err)
	}
}

// What no member may store is refused when it is applied, as in etcd; what
// frees room, or reads, is not.
func TestNoSpaceStopsWhatStoresUntilItIsDisarmed(t *testing.T) {
	s := startServer(t, nil)
	c := s.client(t)
	raised := state.Alarm{Type: pb.AlarmType_NOSPACE, Member: 7}
	root := state.Identity{Root: true}
	s.apply(t, state.AlarmCommand(root, raised, true))
	for name, r := range map[string]struct {
		op   clientv3.Op
		want error
	}{
		"put":                    {clientv3.OpPut("k", "v"), rpctypes.ErrNoSpace},
		"an empty key":           {clientv3.OpPut("", "v"), rpctypes.ErrEmptyKey},
		"a put that is not done": {clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("k", "v")}), rpctypes.ErrNoSpace},
		"a nested put": {clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("k", "v")}, nil)}, nil),
			rpctypes.ErrNoSpace},
		"delete":               {clientv3.OpDelete("k"), nil},
		"get":                  {clientv3.OpGet("k"), nil},
		"deletes in one go":    {clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("k"), clientv3.OpGet("k")}, nil), nil},
		"nothing in one go":    {clientv3.OpTxn(nil, nil, nil), nil},
		"deletes in a nesting": {clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("k")}, nil)}, nil), nil},
	} {
		if _, err := c.Do(t.Context(), r.op); !errors.Is(err, r.want) {
			t.Errorf("%s: %v, want %v", name, err, r.want)
		}
	}
	if _, err := c.Grant(t.Context(), 10); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("grant: %v", err)
	}
	passing := raised
	passing.Passing = true
	s.apply(t, state.AlarmCommand(root, passing, false))
	if _, err := c.Put(t.Context(), "k", "v"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("an alarm that was raised by hand passed: %v", err)
	}
	if _, err := c.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Errorf("put after it was disarmed: %v", err)
	}
}
