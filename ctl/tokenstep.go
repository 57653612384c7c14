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

func tokenStepCommand() *cli.Command {
	return &cli.Command{
		Name:  "step",
		Usage: "print the line with which smallstep's step is given a certificate",
		Description: `Run it on a member whose ca door is open; it speaks to the socket. The token in
the printed line is for one certificate of exactly this name, once in the whole
cluster, and names the root that step is to trust. A client's certificate opens the
client door as that user; a server's is for a service of the fleet and opens no
door of the cluster. The certificate is renewed by step ca renew --daemon.

Examples:
  cleatctl token step --client alice
  cleatctl token step --server web.example.internal,10.0.0.7 --ttl 1h`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "client", Usage: "let the certificate be of user `NAME`"},
			&cli.StringFlag{Name: "server", Usage: "let the certificate be for the server of these `HOSTS`, names and addresses with commas between"},
			&cli.DurationFlag{Name: "ttl", Value: 15 * time.Minute, Usage: "let the token be used for `TIME`, as 1h"},
		},
		Action: tokenStep,
	}
}

func tokenStep(c *cli.Context) error {
	request, err := stepRequest(c)
	if err != nil {
		return err
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		made, err := admin.NewAdminClient(s.ActiveConnection()).CreateStepToken(ctx, request)
		if err != nil {
			return fmt.Errorf("make a token for %s: %w", request.GetName(), err)
		}
		form, err := jsonOf(made)
		if err != nil {
			return err
		}
		if err := s.out.print(answer{
			json: form,
			simple: func(p *printer) {
				file := fileOf(request.GetName())
				p.linef("step ca certificate --token %s %s %s.crt %s.key", made.GetToken(), request.GetName(), file, file)
			},
		}); err != nil {
			return err
		}
		note(c, "good for one %s certificate of %s at https://%s until %s; the token is a secret",
			request.GetProfile(), request.GetName(), made.GetAddress(), made.GetExpires().AsTime().Format(time.RFC3339))
		return nil
	})
}

// stepRequest refuses what no certificate can say before anything is sent.
func stepRequest(c *cli.Context) (*admin.CreateStepTokenRequest, error) {
	client := c.String("client")
	servers := strings.FieldsFunc(c.String("server"), func(r rune) bool { return r == ',' })
	switch {
	case c.NArg() > 0:
		return nil, misuse("token step takes no argument: name the user with --client NAME, or the server with --server HOSTS")
	case (client == "") == (len(servers) == 0):
		return nil, misuse("token step needs either --client NAME or --server HOSTS")
	case client != "" && (len(client) > 64 || strings.ContainsAny(client, " \t\n'\"\\") || strings.HasPrefix(client, "member/")):
		return nil, misuse("--client %q is no name for a user: at most 64 bytes, no spaces and quotes, and not beginning with member/", client)
	case c.Duration("ttl") < time.Second:
		return nil, misuse("--ttl %s is no time to come: give a second at least", c.Duration("ttl"))
	}
	r := &admin.CreateStepTokenRequest{Profile: "client", Name: client, TtlSeconds: int64(c.Duration("ttl") / time.Second)}
	if client == "" {
		r.Profile, r.Name, r.Hosts = "server", servers[0], servers[1:]
	}
	return r, nil
}

// fileOf is a file's name for what the certificate is of.
func fileOf(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/:[]", r) {
			return '_'
		}
		return r
	}, name)
}
