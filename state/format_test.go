// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// of returns the machine of a version that reads up to a format.
func of(t *testing.T, m *Machine, newest uint32, fatal func(error)) *Machine {
	t.Helper()
	return New(Config{Store: m.store, Leases: m.leases, Newest: newest, Fatal: fatal})
}

// A cluster whose members read different formats keeps serving in the older.
func TestACommandOfANewerFormatIsRefusedByAllAlike(t *testing.T) {
	newer := put("a", "2")
	newer[0] = 2
	for _, newest := range []uint32{1, 2} {
		m := of(t, newMachine(t), newest, func(err error) { t.Error(err) })
		results := mustApply(t, m, 1, put("a", "1"), newer, []byte{2}, put("a", "3"))
		for i, want := range []error{nil, ErrFormat, ErrFormat, nil} {
			if _, err := ParseResult(results[i]); !errors.Is(err, want) {
				t.Errorf("reads up to %d: command %d: %v, want %v", newest, i, err, want)
			}
		}
		if r := m.Store().Revision(); r != 3 {
			t.Errorf("reads up to %d: revision %d", newest, r)
		}
	}
}

func TestTheFormatIsRaisedWhenAllReadIt(t *testing.T) {
	root := Identity{Root: true}
	m := of(t, newMachine(t), 2, func(err error) { t.Error(err) })
	apply := func(commands ...[]byte) error {
		t.Helper()
		var errs []error
		for _, r := range mustApply(t, m, m.AppliedIndex()+1, commands...) {
			_, err := ParseResult(r)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if m.Format() != 1 || m.Common() != 0 || !errors.Is(apply(FormatCommand(2)), ErrFormat) {
		t.Errorf("without members: format %d of %d", m.Format(), m.Common())
	}
	one, two := Member{ID: 1, Name: "one", Format: 2}, Member{ID: 2, Name: "two"}
	if err := apply(MemberSetCommand(root, one), MemberSetCommand(root, two), MemberAddCommand(root, Member{ID: 3, Reserved: true})); err != nil {
		t.Fatal(err)
	}
	if err := apply(FormatCommand(2)); !errors.Is(err, ErrFormat) || m.Format() != 1 || m.Common() != 1 {
		t.Errorf("raised over a member that does not read it: %v, format %d of %d", err, m.Format(), m.Common())
	}
	two.Format = 3
	newer := put("a", "1")
	newer[0] = 2
	if err := apply(MemberSetCommand(root, two), FormatCommand(2), newer, FormatCommand(1)); err != nil || m.Format() != 2 {
		t.Fatalf("raised: %v, format %d", err, m.Format())
	}
	if err := apply(MemberSetCommand(root, Member{ID: 3, Name: "old"})); !errors.Is(err, ErrFormat) {
		t.Errorf("an older member came: %v", err)
	}

	var fatal error
	old := of(t, m, 1, func(err error) { fatal = err })
	text := "the cluster has format 2, this cleatd reads up to 1"
	if err := old.Readable(); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), text) || !errors.Is(fatal, ErrFormat) {
		t.Errorf("an older version on this state: %v, told %v", err, fatal)
	}
	if old.Apply([]Entry{{Index: 99, Commands: [][]byte{put("a", "1")}}}) != nil {
		t.Error("an older version applied to this state")
	}
}

func TestAMemberThatBelievedItCouldFollowStops(t *testing.T) {
	var fatal error
	m := openMachine(t, vfs.NewMem(), func(err error) { fatal = err })
	results := m.Apply([]Entry{{Index: 1, Commands: [][]byte{
		MemberSetCommand(Identity{}, Member{ID: 1, Format: 2}), FormatCommand(2),
	}}})
	if results != nil || fatal == nil || !strings.Contains(fatal.Error(), "format 2") {
		t.Errorf("%q, told %v", results, fatal)
	}
}

func TestNothingIsWrittenWhileMembersDiffer(t *testing.T) {
	m := newMachine(t)
	root := Identity{Root: true}
	mustApply(t, m, 1, LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: 5, TTL: 60}))
	alarm := Alarm{Type: pb.AlarmType_CORRUPT, Member: 7}
	commands := func() [][]byte {
		return [][]byte{
			put("a", "1"), TxnCommand(root, &pb.TxnRequest{}), DeleteRangeCommand(root, &pb.DeleteRangeRequest{Key: []byte("a")}),
			CompactCommand(root, &pb.CompactionRequest{Revision: 2}), LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: 6, TTL: 60}),
			LeaseRevokeCommand(root, &pb.LeaseRevokeRequest{ID: 5}),
		}
	}
	results := mustApply(t, m, 2, append([][]byte{AlarmCommand(root, alarm, true)}, commands()...)...)
	for i, r := range append(results[1:], mustApply(t, m, 3, commands()...)...) {
		if _, err := ParseResult(r); !errors.Is(err, ErrCorrupt) {
			t.Errorf("command %d: %v", i, err)
		}
	}
	again := of(t, m, 1, func(err error) { t.Error(err) })
	if !slices.Equal(again.Alarms(), []Alarm{alarm}) || m.Store().Revision() != 1 {
		t.Errorf("alarms %v, revision %d", again.Alarms(), m.Store().Revision())
	}
	for i, r := range mustApply(t, again, 4, AlarmCommand(root, alarm, false), put("a", "1")) {
		if _, err := ParseResult(r); err != nil {
			t.Errorf("after the alarm: %d: %v", i, err)
		}
	}
	if len(again.Alarms()) != 0 {
		t.Errorf("alarms %v", again.Alarms())
	}
}
