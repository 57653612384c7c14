// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show this machine's member on one screen",
		Description: `Speaks to the socket. For all members at once see cleatctl endpoint status.

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
		status, err := admin.NewAdminClient(s.ActiveConnection()).Status(ctx, &admin.StatusRequest{})
		if err != nil {
			return fmt.Errorf("ask for the status: %w", err)
		}
		form, err := jsonOf(status)
		if err != nil {
			return err
		}
		return s.out.print(answer{
			json:   form,
			simple: func(p *printer) { p.overview(status, time.Now()) },
		})
	})
}

// overview is the screen: a subject in the first column, the rest in words.
func (p *printer) overview(s *admin.StatusResponse, now time.Time) {
	p.linef("member        %s, id %x, of cluster %x", s.GetName(), s.GetMemberId(), s.GetClusterId())
	p.linef("version       %s, up for %s", s.GetVersion(), now.Sub(s.GetStarted().AsTime()).Round(time.Second))
	p.linef("agreement     %s, term %d, applied %d of %d", role(s), s.GetRaft().GetTerm(), s.GetRaft().GetApplied(), s.GetRaft().GetCommit())
	d := s.GetDatabase()
	p.linef("history       revision %d, compacted %s", d.GetRevision(), compactedUpTo(d.GetCompacted()))
	p.linef("database      %s, %s in use", humanize.Bytes(uint64(d.GetSize())), humanize.Bytes(uint64(d.GetSizeInUse())))
	p.linef("disk          %s", diskSpace(s.GetSpace()))
	p.linef("doors         %s", openDoors(s.GetDoors()))
	for _, certificate := range s.GetCertificates() {
		p.linef("certificate   %s, %s", certificate.GetKind(), validity(certificate.GetNotAfter(), now))
	}
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
