// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "what lets a user log in or a machine join, once",
		Description: `Example:
  cleatctl token create --client alice
  cleatctl token step --server web.example.internal
  cleatctl token list
  cleatctl token revoke 3f1c09a2b4d7`,
		Subcommands: []*cli.Command{tokenCreateCommand(), tokenStepCommand(), tokenListCommand(), tokenRevokeCommand()},
	}
}

func tokenListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "show the tokens and who came with them; their secrets are known to nobody",
		Description: `The simple form lists ID, state, role, uses left, expiry, the member that made
it, the reserved member, or for role "client" the user, and the members that
joined. Tokens that ended are shown for a day.

Example:
  cleatctl token list -w table`,
		Action: tokenList,
	}
}

func tokenList(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("token list takes no argument")
	}
	return onSocket(c, []string{simpleForm, jsonForm, tableForm}, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).ListTokens(ctx, &admin.ListTokensRequest{})
		if err != nil {
			return fmt.Errorf("list the tokens: %w", err)
		}
		form, err := jsonOf(reply)
		if err != nil {
			return err
		}
		now := time.Now()
		return s.out.print(answer{
			json: form,
			simple: func(p *printer) {
				for _, token := range reply.GetTokens() {
					p.linef("%s", strings.Join(tokenRow(token, now), ", "))
				}
			},
			table: func() table {
				rows := table{{"ID", "state", "role", "uses left", "expires", "made by", "for", "joined"}}
				for _, token := range reply.GetTokens() {
					rows = append(rows, tokenRow(token, now))
				}
				return rows
			},
		})
	})
}

func tokenRow(t *admin.Token, now time.Time) []string {
	role := "voter"
	if t.GetLearner() {
		role = "learner"
	}
	reserved := ""
	if t.GetMember() != 0 {
		reserved = fmt.Sprintf("%x", t.GetMember())
	}
	if t.GetClient() != "" {
		role, reserved = "client", t.GetClient()
	}
	var joined []string
	for _, id := range t.GetJoined() {
		joined = append(joined, fmt.Sprintf("%x", id))
	}
	return []string{
		shortID(t.GetId()), tokenState(t, now), role, fmt.Sprint(t.GetUsesLeft()),
		t.GetExpires().AsTime().Format(time.RFC3339), t.GetCreatedBy(), reserved, strings.Join(joined, " "),
	}
}

func tokenState(t *admin.Token, now time.Time) string {
	switch {
	case t.GetRevoked() != nil:
		return "revoked"
	case t.GetUsesLeft() <= 0:
		return "used up"
	case !now.Before(t.GetExpires().AsTime()):
		return "expired"
	}
	return "good"
}

// shortID is as much of a token's ID as tells it apart from all others.
func shortID(id string) string { return id[:min(len(id), 12)] }

func tokenRevokeCommand() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "end a token before its time",
		ArgsUsage: "ID",
		Description: `ID is the beginning of an ID that token list shows, or a whole token. Who has
joined with it stays: cleatctl member remove is for that. Who has logged in with
it keeps the certificate.

Example:
  cleatctl token revoke 3f1c09a2b4d7`,
		Action: tokenRevoke,
	}
}

func tokenRevoke(c *cli.Context) error {
	id := strings.TrimSpace(c.Args().First())
	if c.NArg() != 1 || id == "" {
		return misuse("token revoke needs one ID, as token list shows it")
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).RevokeToken(ctx, &admin.RevokeTokenRequest{Token: id})
		if err != nil {
			return fmt.Errorf("revoke the token: %w", err)
		}
		form, err := jsonOf(reply)
		if err != nil {
			return err
		}
		return s.out.print(answer{
			json:   form,
			simple: func(p *printer) { p.linef("token %s revoked", shortID(reply.GetToken().GetId())) },
		})
	})
}
