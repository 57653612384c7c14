// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func certListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "show the certificates that the cluster has issued",
		Description: `Run it on a member; it speaks to the socket. The simple form lists serial
number, name, profile, the member whose it is, the end, and when and why it was
revoked; those that end first come first. What has expired is shown with --all,
and known for a week.

Examples:
  cleatctl cert list -w table
  cleatctl cert list --profile client --ends-within 168h
  cleatctl cert list --name alice --all --json`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "those of `NAME`"},
			&cli.StringFlag{Name: "profile", Usage: "those of `PROFILE`: peer, client or server"},
			&cli.StringFlag{Name: "member", Usage: "those of the member with this `ID`"},
			&cli.BoolFlag{Name: "revoked", Usage: "those that were revoked"},
			&cli.DurationFlag{Name: "ends-within", Usage: "those that end within `TIME`, as 168h"},
			&cli.BoolFlag{Name: "all", Usage: "also those that have expired"},
		},
		Action: certList,
	}
}

func certList(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("cert list takes no argument: --name %s shows those of that name", c.Args().First())
	}
	request, err := certFilter(c)
	if err != nil {
		return err
	}
	return onSocket(c, []string{simpleForm, jsonForm, tableForm}, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).ListCertificates(ctx, request)
		if err != nil {
			return fmt.Errorf("list the certificates: %w", err)
		}
		return s.printCertificates(reply.GetCertificates())
	})
}

func certFilter(c *cli.Context) (*admin.ListCertificatesRequest, error) {
	r := &admin.ListCertificatesRequest{
		Certificate: c.String("name"), Profile: c.String("profile"), Revoked: c.Bool("revoked"), Ended: c.Bool("all"),
		EndsWithinSeconds: int64(c.Duration("ends-within") / time.Second),
	}
	switch r.Profile {
	case "", "peer", "client", "server":
	default:
		return nil, misuse("--profile %q is none of peer, client, server", r.Profile)
	}
	if c.IsSet("ends-within") && r.EndsWithinSeconds < 1 {
		return nil, misuse("--ends-within %s: give a second at least", c.Duration("ends-within"))
	}
	if text := c.String("member"); text != "" {
		id, err := strconv.ParseUint(text, 16, 64)
		if err != nil || id == 0 {
			return nil, misuse("--member %q is no member's ID: give it in hexadecimal, as member list shows it", text)
		}
		r.Member = id
	}
	return r, nil
}

// certificate is one as the commands print it in JSON.
type certificate struct {
	Serial        string    `json:"serial"`
	Name          string    `json:"name"`
	Profile       string    `json:"profile"`
	Member        string    `json:"member,omitempty"`
	NotBefore     time.Time `json:"not_before"`
	NotAfter      time.Time `json:"not_after"`
	Revoked       time.Time `json:"revoked,omitzero"`
	RevokedReason string    `json:"revoked_reason,omitempty"`
}

func certificateOf(i *admin.IssuedCertificate) certificate {
	out := certificate{
		Serial: i.GetSerial(), Name: i.GetName(), Profile: i.GetProfile(),
		NotBefore: i.GetNotBefore().AsTime(), NotAfter: i.GetNotAfter().AsTime(),
	}
	if i.GetMember() != 0 {
		out.Member = fmt.Sprintf("%x", i.GetMember())
	}
	if r := i.GetRevoked(); r != nil {
		out.Revoked, out.RevokedReason = r.GetTime().AsTime(), r.GetReason()
	}
	return out
}

// state is what there is to say of a certificate beside its end.
func (i certificate) state(now time.Time) string {
	switch {
	case !i.Revoked.IsZero():
		return fmt.Sprintf("revoked %s (%s)", i.Revoked.Format(time.RFC3339), i.RevokedReason)
	case now.After(i.NotAfter):
		return "expired"
	}
	return "good"
}

func (i certificate) row(now time.Time) []string {
	return []string{i.Serial, i.Name, i.Profile, i.Member, i.NotAfter.Format(time.RFC3339), i.state(now)}
}

func (s *session) printCertificates(found []*admin.IssuedCertificate) error {
	shown := []certificate{} // in JSON none is [], not null
	for _, i := range found {
		shown = append(shown, certificateOf(i))
	}
	now := time.Now()
	return s.out.print(answer{
		json: struct {
			Certificates []certificate `json:"certificates"`
		}{shown},
		simple: func(p *printer) {
			for _, i := range shown {
				p.linef("%s", strings.Join(i.row(now), ", "))
			}
		},
		table: func() table {
			rows := table{{"serial", "name", "profile", "member", "ends", "state"}}
			for _, i := range shown {
				rows = append(rows, i.row(now))
			}
			return rows
		},
	})
}
