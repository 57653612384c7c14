// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/admin"
)

// What cleatctl asks of the socket only comes in these forms.
var adminForms = []string{simpleForm, jsonForm}

func inviteCommand() *cli.Command {
	return &cli.Command{
		Name:  "invite",
		Usage: "print the line with which another machine joins this cluster",
		Description: `Run it on a member that others can reach (listen-peer, advertise); it speaks to
the socket. Type the printed line on the new machine, whose member must have no
data. The token in it is a secret: the cluster itself keeps only its hash.

Examples:
  cleatctl invite
  cleatctl invite --uses 2 --ttl 10m
  cleatctl invite --learner`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "learner", Usage: "let the machine in as a learner that never votes"},
			&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "let the token be used for `TIME`, as 10m"},
			&cli.IntFlag{Name: "uses", Value: 1, Usage: "let `N` machines join with it"},
			&cli.StringFlag{Name: "member", Usage: "let in the member that member add announced, by its `ID`"},
		},
		Action: invite,
	}
}

func invite(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("invite takes no argument: its line works on any machine")
	}
	request, err := invitation(c)
	if err != nil {
		return err
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		made, err := admin.NewAdminClient(s.ActiveConnection()).Invite(ctx, request)
		if err != nil {
			return fmt.Errorf("invite: %w", err)
		}
		form, err := jsonOf(made)
		if err != nil {
			return err
		}
		if err := s.out.print(answer{
			json:   form,
			simple: func(p *printer) { p.linef("cleatctl join --token %s %s", made.GetToken(), made.GetAddress()) },
		}); err != nil {
			return err
		}
		info := made.GetInfo()
		note(c, "good for %s until %s; the token is a secret: cleatctl token revoke %s ends it",
			machines(info.GetUsesLeft()), info.GetExpires().AsTime().Format(time.RFC3339), shortID(info.GetId()))
		return nil
	})
}

func invitation(c *cli.Context) (*admin.InviteRequest, error) {
	r := &admin.InviteRequest{Learner: c.Bool("learner"), TtlSeconds: int64(c.Duration("ttl") / time.Second), Uses: int32(c.Int("uses"))}
	if r.TtlSeconds < 1 {
		return nil, misuse("--ttl %s is no time to join in: give a second at least", c.Duration("ttl"))
	}
	if c.Int("uses") < 1 || int(r.Uses) != c.Int("uses") {
		return nil, misuse("--uses %d: give the number of machines, 1 or more", c.Int("uses"))
	}
	if text := c.String("member"); text != "" {
		id, err := strconv.ParseUint(text, 16, 64)
		if err != nil || id == 0 {
			return nil, misuse("--member %q is no member's ID: give it in hexadecimal, as member list shows it", text)
		}
		if r.Uses != 1 {
			return nil, misuse("--member is one machine, so --uses %d makes no sense", r.Uses)
		}
		r.Member = id
	}
	return r, nil
}

func machines(n int32) string {
	if n == 1 {
		return "one machine"
	}
	return fmt.Sprintf("%s machines", humanize.Comma(int64(n)))
}

// note is a word to a person beside the result.
func note(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "cleatctl: "+format+"\n", args...)
}

// jsonOf is an admin message in the JSON form; the printer writes it compactly,
// whatever the library's spaces.
func jsonOf(m proto.Message) (json.RawMessage, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return raw, nil
}
