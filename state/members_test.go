// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestMembersAreWhatWasAgreed(t *testing.T) {
	m := newMachine(t)
	apply := func(command []byte) []byte { return mustApply(t, m, m.AppliedIndex()+1, command)[0] }
	root := Identity{Root: true, Name: "root"}
	one := Member{ID: 1, Name: "one", PeerURLs: []string{"https://one:2380"}, ClientURLs: []string{"https://one:2379", "https://1.2.3.4:2379"}}
	announced := Member{ID: 2, PeerURLs: []string{"https://two:2380"}, Reserved: true, Learner: true}
	come := Member{ID: 2, Name: "two", PeerURLs: []string{"https://two:2380"}}
	for _, c := range []struct {
		name    string
		command []byte
		want    error
	}{
		{"the first", MemberSetCommand(root, one), nil},
		{"again", MemberSetCommand(root, one), nil},
		{"announced", MemberAddCommand(root, announced), nil},
		{"announced twice", MemberAddCommand(root, announced), ErrMemberExists},
		{"come", MemberSetCommand(root, come), nil},
		{"a taken name", MemberSetCommand(root, Member{ID: 3, Name: "one"}), ErrMemberName},
		{"a taken URL", MemberSetCommand(root, Member{ID: 3, Name: "three", PeerURLs: one.PeerURLs}), ErrPeerURL},
		{"a second learner", MemberSetCommand(root, Member{ID: 3, Name: "three", Learner: true}), ErrTooManyLearners},
		{"a second learner announced", MemberAddCommand(root, Member{ID: 3, Learner: true, Reserved: true}), ErrTooManyLearners},
		{"the learner again", MemberSetCommand(root, come), nil},
		{"promoted, who is unknown", MemberPromoteCommand(root, 3), ErrMemberNotFound},
	} {
		changed := m.MembersChanged()
		if _, err := ParseResult(apply(c.command)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		select {
		case <-changed:
			if c.want != nil {
				t.Errorf("%s: refused, and told", c.name)
			}
		default:
			if c.want == nil {
				t.Errorf("%s: not told", c.name)
			}
		}
	}
	come.Learner = true // as it was announced
	if got := m.Members(); !reflect.DeepEqual(got, []Member{one, come}) {
		t.Errorf("members %+v", got)
	}
	apply(MemberPromoteCommand(root, 2))
	apply(MemberSetCommand(root, Member{ID: 2, Name: "two", Learner: true, PeerURLs: come.PeerURLs}))
	if row, known := m.Member(2); !known || row.Learner {
		t.Errorf("a member became a learner again: %+v", row)
	}
	leaving := func() bool { row, _ := m.Member(2); return row.Leaving }
	apply(MemberLeaveCommand(root, 2, true))
	apply(MemberSetCommand(root, come))
	if !leaving() {
		t.Error("a member that leaves announced itself, and stays")
	}
	if apply(MemberLeaveCommand(root, 2, false)); leaving() {
		t.Error("a removal that was given up goes on")
	}
	revision := m.Store().Revision()
	apply(MemberRemoveCommand(root, 2))
	for name, command := range map[string][]byte{
		"comes back": MemberSetCommand(root, come), "is promoted": MemberPromoteCommand(root, 2),
	} {
		if _, err := ParseResult(apply(command)); !errors.Is(err, ErrMemberRemoved) {
			t.Errorf("a removed member %s: %v", name, err)
		}
	}
	if m.Store().Revision() != revision {
		t.Error("a change of members made a revision")
	}
	again := New(Config{Store: m.Store(), Leases: m.Leases(), Fatal: func(err error) { t.Error(err) }})
	if !reflect.DeepEqual(again.Members(), []Member{one}) || !again.Removed(2) || again.Removed(1) {
		t.Errorf("read again: %+v", again.Members())
	}
}

// What a member was to take back goes with it, and does not come after it: its
// last word may be agreed upon later than its removal. What somebody has raised
// stays.
func TestARemovedMemberLeavesNoAlarmBehind(t *testing.T) {
	m := newMachine(t)
	apply := func(commands ...[]byte) { mustApply(t, m, m.AppliedIndex()+1, commands...) }
	root := Identity{Root: true}
	passing := Alarm{Type: pb.AlarmType_NOSPACE, Member: 2, Passing: true}
	corrupt := Alarm{Type: pb.AlarmType_CORRUPT, Member: 2}
	apply(MemberSetCommand(root, Member{ID: 2, Name: "two"}), AlarmCommand(root, passing, true), AlarmCommand(root, corrupt, true))
	if got := m.Alarms(); len(got) != 2 {
		t.Fatalf("alarms %v", got)
	}
	apply(MemberRemoveCommand(root, 2), AlarmCommand(root, passing, true))
	apply(AlarmCommand(root, passing, true))
	if got := m.Alarms(); !slices.Equal(got, []Alarm{corrupt}) {
		t.Errorf("alarms %v", got)
	}
	raised := passing
	raised.Passing = false
	apply(AlarmCommand(root, raised, true))
	if got := m.Alarms(); !slices.Contains(got, raised) {
		t.Errorf("alarms %v: somebody has raised one", got)
	}
}

func FuzzMember(f *testing.F) {
	f.Add(encodeMember(Member{Name: "n", PeerURLs: []string{"a", "b"}, Learner: true}))
	f.Add(encodeMember(Member{Name: "n", Format: 3}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMember(7, raw)
		if err != nil {
			return
		}
		again, err := decodeMember(7, encodeMember(m))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%+v, then %+v, %v", m, again, err)
		}
	})
}
