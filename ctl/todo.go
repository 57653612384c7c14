// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cleatd/cleat/admin"
)

// What is no longer normal. A member that keeps up is some entries behind, as
// the others were asked a moment earlier or later.
const (
	farBehind = 5000
	clockSlip = time.Second // beyond what the question's way may have made of it
)

// todo is what there is to do about a cluster, the worst first, as its members
// tell of it.
func todo(s *admin.StatusResponse, now time.Time) findings {
	var f findings
	f.leader(s)
	f.alarms(s)
	for _, m := range s.GetMembers() {
		f.member(s, m, now)
	}
	f.authorities(s, now)
	f.rotation(s)
	f.together(s)
	slices.SortStableFunc(f, func(a, b finding) int { return strings.Compare(string(a.Grade), string(b.Grade)) }) // "fault" < "warning"
	return f
}

func (f *findings) leader(s *admin.StatusResponse) {
	if s.GetRaft().GetLeader() == 0 {
		f.add(fault, "leader", "start the members that are down, or open their peer doors to one another; if most of them are lost for good, cleatctl recover",
			"no leader is known, so writes and linearizable reads wait")
	}
}

func (f *findings) alarms(s *admin.StatusResponse) {
	for _, a := range s.GetAlarms() {
		mend := "cleatctl alarm disarm, when its cause is gone"
		switch a.GetType() {
		case "NOSPACE":
			mend = "delete and compact, enlarge its disk, or raise quota-backend-bytes; the alarm goes by itself once there is room, unless somebody raised it"
		case "CORRUPT":
			mend = "the member's data differs from the others': remove it and let it join again (cleatctl member remove, cleatctl join --discard), then cleatctl alarm disarm"
		}
		f.add(fault, "alarm", mend, "%s raised the alarm %s", nameOf(s, a.GetMember()), a.GetType())
	}
}

// member is what one member gives to do.
func (f *findings) member(s *admin.StatusResponse, m *admin.MemberStatus, now time.Time) {
	name := nameOf(s, m.GetId())
	switch {
	case m.GetAnnounced():
		f.add(warning, "member", fmt.Sprintf("cleatctl invite --member %x prints the line to type there, cleatctl member remove %x forgets it", m.GetId(), m.GetId()),
			"%s was announced and has not come", name)
		return
	case m.GetStatus() == nil:
		f.add(fault, "member", fmt.Sprintf("there, systemctl status cleatd tells whether it runs, and cleatctl doctor what keeps it; if it is lost for good: cleatctl member remove %x", m.GetId()),
			"%s is not reached from here (%s)", name, m.GetUnreached())
		return
	}
	own := m.GetStatus()
	if lag := behind(s, own); lag > farBehind {
		f.add(warning, "lag", "if it does not catch up, its disk or network is too slow: cleatctl doctor there", "%s is %s entries behind", name, humanize.Comma(lag))
	}
	f.room(name, own)
	f.clusterKey(name, own.GetClusterKey())
	for _, c := range own.GetCertificates() {
		if c.GetKind() == "member" {
			f.certificate(name, c, now)
		}
	}
	if slip := m.GetAhead().AsDuration(); slip.Abs()-m.GetRoundTrip().AsDuration()/2 > clockSlip {
		f.add(warning, "clock", "set both clocks (timedatectl shows whether one is synchronised): certificates and tokens go by them",
			"the clock of %s is %s from this machine's", name, slip.Abs().Round(time.Millisecond))
	}
}

// rotation is a warning because it keeps tokens and old certificates in doubt
// until it ends, and may wait for a person.
func (f *findings) rotation(s *admin.StatusResponse) {
	if step := s.GetRotation(); step != "" {
		f.add(warning, "ca", "cleatctl ca status shows what it waits for", "a rotation of the CA is under way (%s)", step)
	}
}

// room is a member's disk and quota. A member whose disk does not tell reports
// neither free nor reserved bytes.
func (f *findings) room(name string, own *admin.StatusResponse) {
	const mend = "delete and compact, or enlarge the disk"
	space, d := own.GetSpace(), own.GetDatabase()
	switch free, reserve := space.GetFree(), space.GetReserve(); {
	case free == 0 && reserve == 0:
		f.add(warning, "disk", "its log says why", "the disk of %s does not tell how much is free", name)
	case !space.GetOk():
		f.add(fault, "disk", mend, "%s refuses writes: %s of its disk is free, %s is the reserve", name, humanize.Bytes(free), humanize.Bytes(reserve))
	case free < reserve+reserve/2:
		f.add(warning, "disk", mend, "%s is near the reserve of its disk: %s is free, writes stop below %s", name, humanize.Bytes(free), humanize.Bytes(reserve))
	}
	if quota := d.GetQuota(); quota > 0 && d.GetSize() > quota/10*9 {
		f.add(warning, "quota", "delete and compact, or raise quota-backend-bytes", "%s uses %s of its quota of %s", name, humanize.Bytes(uint64(d.GetSize())), humanize.Bytes(uint64(quota)))
	}
}

// certificate is a member's, which renews itself before a fifth of its life is
// left.
func (f *findings) certificate(name string, c *admin.Certificate, now time.Time) {
	const mend = "there, journalctl -u cleatd says what keeps it from being renewed"
	end := c.GetNotAfter().AsTime()
	switch left := end.Sub(now); {
	case left <= 0:
		f.add(fault, "certificate", mend, "the certificate of %s has expired on %s", name, end.Format(time.RFC3339))
	case left < lifeOf(c)/5:
		f.add(fault, "certificate", mend, "the certificate of %s should have renewed itself, and ends %s", name, end.Format(time.RFC3339))
	}
}

func lifeOf(c *admin.Certificate) time.Duration {
	return c.GetNotAfter().AsTime().Sub(c.GetNotBefore().AsTime())
}

// authorities are the certificates of the CA, which all members share and which
// nothing renews.
func (f *findings) authorities(s *admin.StatusResponse, now time.Time) {
	for _, c := range s.GetCertificates() {
		end := c.GetNotAfter().AsTime()
		if c.GetKind() != "member" && end.Sub(now) < lifeOf(c)/5 {
			f.add(warning, "certificate", "replace it before: cleatctl ca rotate --root, or --intermediate",
				"the CA's %s ends %s, and with it all certificates", c.GetKind(), end.Format(time.RFC3339))
		}
	}
}

// together is what no member could tell alone.
func (f *findings) together(s *admin.StatusResponse) {
	voters, versions := 0, map[string][]string{}
	for _, m := range s.GetMembers() {
		if !m.GetLearner() && !m.GetAnnounced() {
			voters++
		}
		if v := m.GetStatus().GetVersion(); v != "" {
			versions[v] = append(versions[v], m.GetName())
		}
	}
	if len(versions) > 1 {
		var each []string
		for v, names := range versions {
			each = append(each, v+" on "+strings.Join(names, ", "))
		}
		slices.Sort(each)
		f.add(warning, "version", "bring all of them to the newest, one after the other", "the members run different versions: %s", strings.Join(each, "; "))
	}
	if voters > 0 && voters%2 == 0 {
		f.add(warning, "voters", "let one more machine join (cleatctl invite), or remove one",
			"%d voters survive the loss of %d, as %d would", voters, (voters-1)/2, voters-1)
	}
}

// behind is how many entries a member has not applied of those that are agreed
// upon: the leader's count, or the highest that anybody knows.
func behind(s, member *admin.StatusResponse) int64 {
	newest := s.GetRaft().GetCommit()
	for _, m := range s.GetMembers() {
		newest = max(newest, m.GetStatus().GetRaft().GetCommit())
	}
	return int64(min(newest-min(newest, member.GetRaft().GetApplied()), math.MaxInt64))
}

// nameOf is a member's name with its id.
func nameOf(s *admin.StatusResponse, id uint64) string {
	for _, m := range s.GetMembers() {
		if m.GetId() == id && m.GetName() != "" {
			return fmt.Sprintf("%s (%x)", m.GetName(), id)
		}
	}
	return fmt.Sprintf("member %x", id)
}
