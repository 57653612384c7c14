// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
)

func tokenCreateCommand() *cli.Command {
	return &cli.Command{
		Name:  "create",
		Usage: "print the line with which a user elsewhere is given a certificate",
		Description: `Run it on a member; it speaks to the socket. Whoever types the printed line is
given a certificate of that name, and no other. With --role the user is made and
given the role first, with a certificate instead of a password; a user that there
is gets the role in addition. The token in the line is a secret: the cluster
itself keeps only its hash.

Examples:
  cleatctl token create --client alice
  cleatctl token create --client backup --role reader --ttl 10m --cert-ttl 720h`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "client", Usage: "let the certificate be of user `NAME`"},
			&cli.StringFlag{Name: "role", Usage: "make the user, if there is none, and give it `ROLE`, which there must be"},
			&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "let the token be used for `TIME`, as 10m"},
			&cli.IntFlag{Name: "uses", Value: 1, Usage: "let `N` certificates be given for it"},
			&cli.DurationFlag{Name: "cert-ttl", DefaultText: "the cluster's, 90 days unless set", Usage: "let the certificates live for `TIME`, as 720h"},
		},
		Action: tokenCreate,
	}
}

func tokenCreate(c *cli.Context) error {
	request, err := clientInvitation(c)
	if err != nil {
		return err
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		if role := c.String("role"); role != "" {
			if err := s.grant(ctx, request.GetClient(), role); err != nil {
				return err
			}
		}
		made, err := admin.NewAdminClient(s.ActiveConnection()).CreateToken(ctx, request)
		if err != nil {
			return fmt.Errorf("create a token for %s: %w", request.GetClient(), err)
		}
		form, err := jsonOf(made)
		if err != nil {
			return err
		}
		address := made.GetAddress()
		if address == "" {
			address = "HOST:" + caPort
			note(c, "this member has no ca door (listen-ca): HOST is one that has")
		}
		if err := s.out.print(answer{
			json:   form,
			simple: func(p *printer) { p.linef("cleatctl login --token %s %s", made.GetToken(), address) },
		}); err != nil {
			return err
		}
		info := made.GetInfo()
		note(c, "good for %s of user %s until %s; the token is a secret: cleatctl token revoke %s ends it",
			logins(info.GetUsesLeft()), info.GetClient(), info.GetExpires().AsTime().Format(time.RFC3339), shortID(info.GetId()))
		return nil
	})
}

// clientInvitation refuses what no certificate can say before anything is sent.
func clientInvitation(c *cli.Context) (*admin.CreateTokenRequest, error) {
	if c.NArg() > 0 {
		return nil, misuse("token create takes no argument: name the user with --client NAME")
	}
	name := c.String("client")
	switch {
	case name == "":
		return nil, misuse("token create needs --client NAME, the user that the certificate will be of; cleatctl invite makes tokens for machines")
	case len(name) > 64 || strings.TrimSpace(name) != name || strings.HasPrefix(name, "member/"):
		return nil, misuse("--client %q is no name for a user: at most 64 bytes, no spaces around it, and not beginning with member/", name)
	}
	r := &admin.CreateTokenRequest{
		Client: name, TtlSeconds: int64(c.Duration("ttl") / time.Second), Uses: int32(c.Int("uses")),
		CertTtlSeconds: int64(c.Duration("cert-ttl") / time.Second),
	}
	switch {
	case r.TtlSeconds < 1:
		return nil, misuse("--ttl %s is no time to log in: give a second at least", c.Duration("ttl"))
	case c.Int("uses") < 1 || int(r.Uses) != c.Int("uses"):
		return nil, misuse("--uses %d: give the number of logins, 1 or more", c.Int("uses"))
	case c.Duration("cert-ttl") != 0 && r.CertTtlSeconds < 1:
		return nil, misuse("--cert-ttl %s is no life for a certificate: give a second at least", c.Duration("cert-ttl"))
	}
	return r, nil
}

// grant makes sure that there is a user of that name with the role. A role that
// there is not is found out before anything is made.
func (s *session) grant(ctx context.Context, name, role string) error {
	if _, err := s.RoleGet(ctx, role); err != nil {
		return fmt.Errorf("nothing was made: role %s: %w", role, err)
	}
	_, err := s.UserAddWithOptions(ctx, name, "", &clientv3.UserAddOptions{NoPassword: true})
	if err != nil && !errors.Is(err, rpctypes.ErrUserAlreadyExist) {
		return fmt.Errorf("add user %s: %w", name, err)
	}
	if _, err := s.UserGrantRole(ctx, name, role); err != nil {
		return fmt.Errorf("give user %s the role %s: %w", name, role, err)
	}
	if status, err := s.AuthStatus(ctx); err == nil && !status.Enabled {
		note(s.c, "users do not count yet, so %s may do everything: cleatctl auth enable", name)
	}
	return nil
}

func logins(n int32) string {
	if n == 1 {
		return "one login"
	}
	return fmt.Sprintf("%d logins", n)
}
