// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// well is a cluster of three with nothing to do, as member one tells of it at
// now.
func well(now time.Time) *admin.StatusResponse {
	certificates := func() []*admin.Certificate {
		var all []*admin.Certificate
		for kind, days := range map[string]int{"root": 3650, "intermediate": 3650, "member": 30} {
			life := time.Duration(days) * 24 * time.Hour
			all = append(all, &admin.Certificate{Kind: kind, NotBefore: timestamppb.New(now.Add(-life / 2)), NotAfter: timestamppb.New(now.Add(life / 2))})
		}
		return all
	}
	one := func(id uint64) *admin.StatusResponse {
		return &admin.StatusResponse{
			Version: "1.2.3", MemberId: id, ClusterId: 0xc1, Name: "n", Started: timestamppb.New(now),
			Raft: &admin.Raft{Leader: 1, Term: 4, Applied: 100, Commit: 100}, Database: &admin.Database{Size: 20000, Compacted: -1},
			Space: &admin.Space{Ok: true, Free: 5e9, Reserve: 1e9}, Certificates: certificates(),
		}
	}
	s := one(1)
	for id, name := range map[uint64]string{1: "one", 2: "two", 3: "three"} {
		s.Members = append(s.Members, &admin.MemberStatus{Id: id, Name: name, Status: one(id), RoundTrip: durationpb.New(time.Millisecond), Ahead: durationpb.New(0)})
	}
	return s
}

func TestEachThingToDoIsSaidWithItsMend(t *testing.T) {
	now := time.Now()
	third := func(s *admin.StatusResponse) *admin.MemberStatus {
		for _, m := range s.Members {
			if m.Id == 3 {
				return m
			}
		}
		panic("there is no third")
	}
	for name, c := range map[string]struct {
		spoil func(*admin.StatusResponse)
		want  string // the grade, what and a part of the mend; empty: nothing to do
	}{
		"all is well":     {func(*admin.StatusResponse) {}, ""},
		"a little behind": {func(s *admin.StatusResponse) { third(s).Status.Raft.Applied = 90 }, ""},
		"a way that takes its time": {func(s *admin.StatusResponse) {
			third(s).Ahead, third(s).RoundTrip = durationpb.New(-2*time.Second), durationpb.New(2*time.Second)
		}, ""},
		"no leader":   {func(s *admin.StatusResponse) { s.Raft.Leader = 0 }, "fault no leader is known, so writes and linearizable reads wait: start the members"},
		"one is away": {func(s *admin.StatusResponse) { third(s).Status, third(s).Unreached = nil, "refused" }, "fault three (3) is not reached from here (refused): there, systemctl status cleatd"},
		"one is to come": {func(s *admin.StatusResponse) {
			s.Members = append(s.Members, &admin.MemberStatus{Id: 0xab, Announced: true})
		}, "warning member ab was announced and has not come: cleatctl invite --member ab"},
		"far behind": {func(s *admin.StatusResponse) {
			for _, m := range s.Members {
				m.Status.Raft.Commit, m.Status.Raft.Applied = 123456, 123456
			}
			third(s).Status.Raft = &admin.Raft{}
		}, "warning three (3) is 123,456 entries behind: "},
		"a disk that is full":      {func(s *admin.StatusResponse) { third(s).Status.Space.Ok = false }, "fault three (3) refuses writes: 5.0 GB of its disk is free, 1.0 GB is the reserve: delete"},
		"a disk that is near it":   {func(s *admin.StatusResponse) { third(s).Status.Space.Free = 1.4e9 }, "warning three (3) is near the reserve of its disk: 1.4 GB is free, writes stop below 1.0 GB: delete"},
		"a disk that says nothing": {func(s *admin.StatusResponse) { third(s).Status.Space = &admin.Space{} }, "warning the disk of three (3) does not tell"},
		"a quota nearly used up":   {func(s *admin.StatusResponse) { third(s).Status.Database.Quota = 21000 }, "warning three (3) uses 20 kB of its quota of 21 kB: delete and compact, or raise quota-backend-bytes"},
		"no room": {func(s *admin.StatusResponse) { s.Alarms = []*admin.Alarm{{Type: "NOSPACE", Member: 3}} },
			"fault three (3) raised the alarm NOSPACE: delete and compact"},
		"histories differ": {func(s *admin.StatusResponse) { s.Alarms = []*admin.Alarm{{Type: "CORRUPT", Member: 3}} },
			"fault three (3) raised the alarm CORRUPT: the member's data differs"},
		"a certificate that ended":     {func(s *admin.StatusResponse) { ends(third(s).Status, "member", now.Add(-time.Hour)) }, "fault the certificate of three (3) has expired on "},
		"a certificate that got stuck": {func(s *admin.StatusResponse) { ends(third(s).Status, "member", now.Add(3*24*time.Hour)) }, "fault the certificate of three (3) should have renewed itself"},
		"a rotation":                   {func(s *admin.StatusResponse) { s.Rotation = "issuing" }, "warning a rotation of the CA is under way (issuing): cleatctl ca status"},
		"a CA that ends":               {func(s *admin.StatusResponse) { ends(s, "root", now.Add(300*24*time.Hour)) }, "warning the CA's root ends "},
		"another version":              {func(s *admin.StatusResponse) { third(s).Status.Version = "1.3.0" }, "warning the members run different versions: "},
		"two voters":                   {func(s *admin.StatusResponse) { third(s).Learner = true }, "warning 2 voters survive the loss of 0, as 1 would: let one more"},
		"a wrong clock":                {func(s *admin.StatusResponse) { third(s).Ahead = durationpb.New(-90 * time.Second) }, "warning the clock of three (3) is 1m30s from this machine's: set both clocks"},
	} {
		s := well(now)
		c.spoil(s)
		doing := todo(s, now)
		if c.want == "" {
			if len(doing) > 0 {
				t.Errorf("%s: %v", name, doing)
			}
			continue
		}
		if len(doing) != 1 || !strings.HasPrefix(string(doing[0].Grade)+" "+doing[0].line(), c.want) || doing[0].Mend == "" {
			t.Errorf("%s: got %+v\nwant %s", name, doing, c.want)
		}
	}
}

// ends gives the certificate of a kind another end; its life stays.
func ends(s *admin.StatusResponse, kind string, at time.Time) {
	for _, c := range s.Certificates {
		if c.Kind == kind {
			life := lifeOf(c)
			c.NotAfter, c.NotBefore = timestamppb.New(at), timestamppb.New(at.Add(-life))
		}
	}
}

func TestStatusShowsAllMembersAndSaysByItsCodeWhetherAllIsWell(t *testing.T) {
	s := well(time.Now())
	o := &office{status: s}
	socket := o.open(t)
	code, stdout, stderr := cleatctl(t, "status", "--socket", socket)
	for _, want := range []string{
		"MEMBER  ID  ROLE    REACHED   VERSION  BEHIND  DATABASE  DISK FREE\n",
		"one     1   leader  this one  1.2.3    0       20 kB     5.0 GB\n",
		"three   3   voter   yes       1.2.3    0       20 kB     5.0 GB\n",
		"alarms        none\n", "backups       not known", "\nNothing needs doing.\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if code != exitDone || stderr != "" || !proto.Equal(o.wanted, &admin.StatusRequest{Members: true}) {
		t.Errorf("exit code %d, %q, asked for %v", code, stderr, o.wanted)
	}
	for _, m := range s.Members {
		if m.Id == 3 {
			m.Status, m.Unreached, m.Learner = nil, "refused", true
		}
	}
	code, stdout, stderr = cleatctl(t, "status", "--socket", socket)
	if code != exitFailed || stderr != "cleatctl: 1 fault to mend: see above\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if want := "\nWhat to do:\n  fault    three (3) is not reached from here (refused): "; !strings.Contains(stdout, want) || !strings.Contains(stdout, "three   3   learner  NO        ?") {
		t.Errorf("no %q in\n%s", want, stdout)
	}
	code, stdout, _ = cleatctl(t, "status", "--json", "--socket", socket)
	if code != exitFailed || !strings.Contains(stdout, `"todo":[{"check":"member","grade":"fault","what":"three (3) is not reached`) {
		t.Errorf("exit code %d, JSON: %s", code, stdout)
	}
}
