// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/state"
)

func TestWhoDiffersFromMost(t *testing.T) {
	for name, c := range map[string]struct {
		digests map[uint64]digest
		want    []uint64
	}{
		"nobody":              {nil, nil},
		"alike":               {map[uint64]digest{1: {5, 2}, 2: {5, 2}, 3: {5, 2}}, nil},
		"one":                 {map[uint64]digest{1: {5, 2}, 2: {6, 2}, 3: {5, 2}}, []uint64{2}},
		"all":                 {map[uint64]digest{1: {5, 2}, 2: {6, 2}, 3: {7, 2}}, []uint64{0}},
		"one of two":          {map[uint64]digest{1: {5, 2}, 2: {6, 2}}, []uint64{0}},
		"two of five":         {map[uint64]digest{1: {5, 2}, 2: {5, 2}, 3: {5, 2}, 4: {6, 2}, 5: {7, 2}}, []uint64{4, 5}},
		"compacted otherwise": {map[uint64]digest{1: {5, 2}, 2: {6, 3}, 3: {5, 2}}, nil},
	} {
		got := divergent(c.digests)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// compared is what three begins, with comparisons all the time.
func compared(t *testing.T) []*life {
	t.Helper()
	var members []*life
	for _, name := range []string{"one", "two", "three"} {
		o := advertised(t, name)
		o.Config.HashInterval = 10 * time.Millisecond
		members = append(members, begin(t, o))
	}
	by := members[0].invite(&admin.InviteRequest{Uses: 2})
	for _, l := range members[1:] {
		l.join(by)
		l.voter()
	}
	return members
}

func TestAMemberThatDiffersStopsTheWrites(t *testing.T) {
	members := compared(t)
	c := members[0].client
	if _, err := c.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(members, func(l *life) bool { return l.d.node.Status().Leader != l.d.dir.memberID() })
	odd := members[at].d
	if _, err := members[at].client.Get(within(t), "k"); err != nil { // it has applied it
		t.Fatal(err)
	}
	put := state.PutCommand(selfIdentity, &pb.PutRequest{Key: []byte("k"), Value: []byte("only here")})
	odd.machine.Apply([]state.Entry{{Index: odd.machine.AppliedIndex() + 1, Commands: [][]byte{put}}})

	// What the member made up stands in the place of an entry of the log, and
	// so the others go on to its revision without it.
	var err error
	for ctx := within(t); err == nil || ctx.Err() == nil && !errors.Is(err, rpctypes.ErrCorrupt); {
		_, err = members[(at+1)%3].client.Put(ctx, "k", "for all")
	}
	if !errors.Is(err, rpctypes.ErrCorrupt) {
		t.Fatalf("writes go on: %v", err)
	}
	alarms, err := c.AlarmList(within(t))
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].MemberID != odd.dir.memberID() || alarms.Alarms[0].Alarm != pb.AlarmType_CORRUPT {
		t.Errorf("alarms %v, %v; member %x differs", alarms, err, odd.dir.memberID())
	}
}
