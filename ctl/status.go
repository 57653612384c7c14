// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the cluster and this machine's member on one screen, and what to do",
		Description: `Speaks to the socket; the member asks the others. One that gives no answer is
shown as such. BEHIND is how many entries a member has yet to apply.

Exit code 1 if there is a fault, which is broken or will be before anybody looks
again, so that a script can go on only where all is well; 0 also with warnings,
which can wait: a cluster of two members would never be well.

Example:
  cleatctl status`,
		Action: memberStatusAction,
	}
}

func memberStatusAction(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("status takes no argument")
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		status, err := admin.NewAdminClient(s.ActiveConnection()).Status(ctx, &admin.StatusRequest{Members: true})
		if err != nil {
			return fmt.Errorf("ask for the status: %w", err)
		}
		now := time.Now()
		doing := todo(status, now)
		form, err := statusJSON(status, doing)
		if err != nil {
			return err
		}
		if err := s.out.print(answer{
			json: form,
			simple: func(p *printer) {
				p.membership(status)
				p.overview(status, now)
				p.todo(doing)
			},
		}); err != nil {
			return err
		}
		return doing.verdict()
	})
}

// statusJSON is the member's answer and what to do, as one object.
func statusJSON(s *admin.StatusResponse, doing findings) (json.RawMessage, error) {
	told, err := jsonOf(s)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(told, &fields); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	if fields["todo"], err = json.Marshal(append(findings{}, doing...)); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return json.Marshal(fields)
}

// membership is a line for each member, under headings.
func (p *printer) membership(s *admin.StatusResponse) {
	if len(s.GetMembers()) == 0 { // the member is older than this program
		return
	}
	lines := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "MEMBER\tID\tROLE\tREACHED\tVERSION\tBEHIND\tDATABASE\tDISK FREE")
	for _, m := range s.GetMembers() {
		fmt.Fprintln(lines, strings.Join(standing(s, m), "\t"))
	}
	_ = lines.Flush() // into the buffer, whose Flush tells of any failure
	p.linef("")
}

func standing(s *admin.StatusResponse, m *admin.MemberStatus) []string {
	row := []string{m.GetName(), fmt.Sprintf("%x", m.GetId()), "voter", "yes", "?", "?", "?", "?"}
	switch {
	case m.GetAnnounced():
		row[2] = "announced"
	case m.GetId() == s.GetRaft().GetLeader():
		row[2] = "leader"
	case m.GetLearner():
		row[2] = "learner"
	}
	own := m.GetStatus()
	if own == nil {
		row[3] = "NO"
		return row
	}
	if m.GetId() == s.GetMemberId() {
		row[3] = "this one"
	}
	return append(row[:4], own.GetVersion(), humanize.Comma(behind(s, own)),
		humanize.Bytes(uint64(own.GetDatabase().GetSize())), humanize.Bytes(own.GetSpace().GetFree()))
}

// overview is this member: a subject in the first column, the rest in words.
func (p *printer) overview(s *admin.StatusResponse, now time.Time) {
	p.linef("member        %s, id %x, of cluster %x", s.GetName(), s.GetMemberId(), s.GetClusterId())
	p.linef("version       %s, up for %s", s.GetVersion(), now.Sub(s.GetStarted().AsTime()).Round(time.Second))
	p.linef("agreement     %s, term %d, applied %d of %d", role(s), s.GetRaft().GetTerm(), s.GetRaft().GetApplied(), s.GetRaft().GetCommit())
	d := s.GetDatabase()
	p.linef("history       revision %d, compacted %s", d.GetRevision(), compactedUpTo(d.GetCompacted()))
	p.linef("database      %s, %s in use, %s", humanize.Bytes(uint64(d.GetSize())), humanize.Bytes(uint64(d.GetSizeInUse())), quotaOf(d))
	p.linef("disk          %s", diskSpace(s.GetSpace()))
	p.linef("doors         %s", openDoors(s.GetDoors()))
	p.linef("alarms        %s", alarmsOf(s))
	for _, certificate := range s.GetCertificates() {
		p.linef("certificate   %s, %s", certificate.GetKind(), validity(certificate.GetNotAfter(), now))
	}
	if key := s.GetClusterKey(); key != nil {
		p.linef("cluster key   %s", keyStanding(s, key))
	}
	p.linef("backups       not known: no member keeps note of who saved a snapshot")
}

// todo is the end of the screen.
func (p *printer) todo(doing findings) {
	if len(doing) == 0 {
		p.linef("\nNothing needs doing.")
		return
	}
	p.linef("\nWhat to do:")
	for _, each := range doing {
		p.linef("  %-8s %s", each.Grade, each.line())
	}
}

func quotaOf(d *admin.Database) string {
	if d.GetQuota() == 0 {
		return "no quota"
	}
	return "quota " + humanize.Bytes(uint64(d.GetQuota()))
}

func alarmsOf(s *admin.StatusResponse) string {
	var raised []string
	for _, a := range s.GetAlarms() {
		raised = append(raised, a.GetType()+" by "+nameOf(s, a.GetMember()))
	}
	if len(raised) == 0 {
		return "none"
	}
	return strings.Join(raised, ", ")
}

func role(s *admin.StatusResponse) string {
	switch s.GetRaft().GetLeader() {
	case 0:
		return "no leader is known: writes wait until most members reach one another"
	case s.GetMemberId():
		return "leads"
	}
	verb := "follows"
	if s.GetRaft().GetLearner() {
		verb = "learns from"
	}
	return fmt.Sprintf("%s %x", verb, s.GetRaft().GetLeader())
}

func compactedUpTo(revision int64) string {
	if revision < 0 {
		return "never"
	}
	return fmt.Sprintf("up to %d", revision)
}

func diskSpace(s *admin.Space) string {
	text := fmt.Sprintf("%s free, writes stop below %s", humanize.Bytes(s.GetFree()), humanize.Bytes(s.GetReserve()))
	if !s.GetOk() {
		text += ": WRITES ARE REFUSED; delete and compact, or enlarge the disk"
	}
	return text
}

func openDoors(d *admin.Doors) string {
	var open []string
	for _, door := range []struct{ name, address string }{
		{"socket", d.GetSocket()}, {"client", d.GetClient()}, {"peer", d.GetPeer()}, {"ca", d.GetCa()},
	} {
		if door.address != "" {
			open = append(open, door.name+" "+door.address)
		}
	}
	return strings.Join(open, ", ")
}

func validity(until *timestamppb.Timestamp, now time.Time) string {
	end := until.AsTime()
	if end.Before(now) {
		return "EXPIRED on " + end.Format(time.RFC3339)
	}
	return fmt.Sprintf("good until %s (%s)", end.Format(time.RFC3339), humanize.RelTime(now, end, "from now", "ago"))
}
