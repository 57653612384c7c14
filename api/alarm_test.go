// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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
