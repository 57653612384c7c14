// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func authCommand() *cli.Command {
	return &cli.Command{
		Name:  "auth",
		Usage: "whether users and roles count",
		Description: `While they do, a client over the network acts as the user its certificate is made
out to, or as the one it logs in as. The socket stays the administrator's.

Example:
  cleatctl user add root --no-password
  cleatctl auth enable`,
		Subcommands: []*cli.Command{
			{Name: "enable", Usage: "let users and roles count", Description: authEnableHelp, Action: authEnable},
			{Name: "disable", Usage: "let every client do everything", Description: authDisableHelp, Action: authDisable},
			{Name: "status", Usage: "show whether they count, and their revision", Description: authStatusHelp, Action: authStatus},
		},
	}
}

const (
	authEnableHelp = `There must be a user root; it is given the role root if it has not got it.

Example:
  cleatctl auth enable`
	authDisableHelp = `Users and roles are kept, tokens are not.

Example:
  cleatctl auth disable`
	authStatusHelp = `Example:
  cleatctl auth status -w json`
)

// headerForms are those of answers that some of etcdctl's forms do not know.
var headerForms = []string{simpleForm, jsonForm, protobufForm}

func noArguments(c *cli.Context) error {
	if c.NArg() != 0 {
		return misuse("%s takes no argument", called(c))
	}
	return nil
}

func authEnable(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, anyForm, func(ctx context.Context, s *session) error {
		reply, err := s.AuthEnable(ctx)
		if errors.Is(err, rpctypes.ErrRootRoleNotExist) {
			reply, err = s.enableWithRole(ctx)
		}
		if err != nil {
			return err
		}
		return s.out.line((*pb.AuthEnableResponse)(reply), "Authentication Enabled")
	})
}

// enableWithRole makes up for a root without its role, as etcdctl does.
func (s *session) enableWithRole(ctx context.Context) (*clientv3.AuthEnableResponse, error) {
	if _, err := s.RoleAdd(ctx, "root"); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		return nil, err
	}
	if _, err := s.UserGrantRole(ctx, "root", "root"); err != nil {
		return nil, err
	}
	return s.AuthEnable(ctx)
}

func authDisable(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, anyForm, func(ctx context.Context, s *session) error {
		reply, err := s.AuthDisable(ctx)
		if err != nil {
			return err
		}
		return s.out.line((*pb.AuthDisableResponse)(reply), "Authentication Disabled")
	})
}

func authStatus(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, headerForms, func(ctx context.Context, s *session) error {
		reply, err := s.AuthStatus(ctx)
		if err != nil {
			return err
		}
		r := (*pb.AuthStatusResponse)(reply)
		return s.out.print(answer{json: r, message: r, simple: func(p *printer) {
			p.linef("Authentication Status: %t", r.GetEnabled())
			p.linef("AuthRevision: %d", r.GetAuthRevision())
		}})
	})
}

// headed is what an answer with nothing but a header is made of.
type headed interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
}

// done shows such an answer; the simple form is one line.
func (s *session) done(r headed, format string, args ...any) error {
	return s.out.print(answer{
		json: r, message: r,
		simple: func(p *printer) { p.linef(format, args...) },
		fields: func(p *printer) { p.header(r.GetHeader()) },
	})
}
