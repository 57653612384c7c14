// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "show what the cluster's CA did and refused",
		Description: `Run it on any member; it speaks to the socket and shows what happened on all of
them, oldest first: certificates issued, renewed and revoked, machines invited
and let in, whom the doors refused, changes of the CA and its keys. No secret is
in it. Records are kept for 90 days, of each member at most 4000 of certificates,
1000 of administration and 500 of refusals; of many refusals alike in a minute
there is one, and one that counts the others. The journal has the same lines.

Examples:
  cleatctl audit --since 24h
  cleatctl audit --since 2026-05-01T08:00:00Z --json
  cleatctl audit --follow`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "from `TIME` on: 24h ago, or 2026-05-01T08:00:00Z"},
			&cli.StringFlag{Name: "act", Usage: "only `ACT`: issue, renew, refuse, revoke, invite, join, rotate or keys"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, until interrupted"},
		},
		Action: audit,
	}
}

func audit(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("audit takes no argument: --since TIME and --act ACT choose")
	}
	since, err := sinceWhen(c.String("since"), time.Now())
	if err != nil {
		return err
	}
	switch c.String("act") {
	case "", "issue", "renew", "refuse", "revoke", "invite", "join", "rotate", "keys":
	default:
		return misuse("--act %q is none of issue, renew, refuse, revoke, invite, join, rotate, keys", c.String("act"))
	}
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := c.Context, context.CancelFunc(func() {})
	if !c.Bool("follow") {
		ctx, cancel = context.WithTimeout(ctx, c.Duration("command-timeout"))
	}
	defer cancel()
	told, err := admin.NewAdminClient(s.ActiveConnection()).Audit(ctx, &admin.AuditRequest{Since: since, Follow: c.Bool("follow")})
	for err == nil {
		var reply *admin.AuditResponse
		if reply, err = told.Recv(); err == nil {
			err = s.printEvents(reply.GetEvents(), c.String("act"))
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case c.Context.Err() != nil && status.Code(err) == codes.Canceled:
		return nil // interrupted, which is how following ends
	}
	return fmt.Errorf("read the audit: %w", err)
}

// sinceWhen reads how long ago, or when.
func sinceWhen(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return timestamppb.New(now.Add(-ago)), nil
	}
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, misuse("--since %q is neither how long ago, as 24h, nor a time, as %s", text, now.UTC().Format(time.RFC3339))
	}
	return timestamppb.New(when), nil
}

// event is one as audit prints it in JSON, a line each.
type event struct {
	Time     time.Time `json:"time"`
	Member   string    `json:"member"`
	Act      string    `json:"act"`
	What     string    `json:"what"`
	By       string    `json:"by,omitempty"`
	Name     string    `json:"name,omitempty"`
	Profile  string    `json:"profile,omitempty"`
	Serial   string    `json:"serial,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`
	Subject  string    `json:"subject,omitempty"`
	Token    string    `json:"token,omitempty"`
	Door     string    `json:"door,omitempty"`
	Remote   string    `json:"remote,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Count    int64     `json:"count,omitempty"`
}

func (s *session) printEvents(events []*admin.AuditEvent, act string) error {
	for _, e := range events {
		if act != "" && e.GetAct() != act {
			continue
		}
		shown := eventOf(e)
		if err := s.out.print(answer{json: shown, simple: func(p *printer) { p.linef("%s", shown.line()) }}); err != nil {
			return err
		}
	}
	return nil
}

func eventOf(e *admin.AuditEvent) event {
	out := event{
		Time: e.GetTime().AsTime(), Member: fmt.Sprintf("%x", e.GetMember()), Act: e.GetAct(), What: e.GetWhat(), By: e.GetBy(),
		Name: e.GetName(), Profile: e.GetProfile(), Serial: e.GetSerial(), Token: e.GetToken(), Door: e.GetDoor(),
		Remote: e.GetRemote(), Reason: e.GetReason(), Detail: e.GetDetail(), Count: e.GetCount(),
	}
	if e.GetNotAfter() != nil {
		out.NotAfter = e.GetNotAfter().AsTime()
	}
	if e.GetSubject() != 0 {
		out.Subject = fmt.Sprintf("%x", e.GetSubject())
	}
	return out
}

// line is an event for people. Some of its texts are a stranger's, so they are
// quoted where they have more than plain characters.
func (e event) line() string {
	parts := []string{e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Member, e.Act + ":", e.What}
	for _, field := range [][2]string{
		{"name", e.Name}, {"profile", e.Profile}, {"serial", e.Serial}, {"subject", e.Subject}, {"token", e.Token},
		{"door", e.Door}, {"reason", e.Reason}, {"remote", e.Remote}, {"by", e.By}, {"detail", e.Detail},
	} {
		if field[1] != "" {
			parts = append(parts, field[0]+"="+quoted(field[1]))
		}
	}
	if !e.NotAfter.IsZero() {
		parts = append(parts, "not_after="+e.NotAfter.UTC().Format(time.RFC3339))
	}
	if e.Count > 1 {
		parts = append(parts, fmt.Sprintf("count=%d", e.Count))
	}
	return strings.Join(parts, " ")
}

func quoted(text string) string {
	other := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '=' }
	if strings.IndexFunc(text, other) < 0 {
		return text
	}
	return fmt.Sprintf("%q", text)
}
