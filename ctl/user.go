// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/term"
)

func userCommand() *cli.Command {
	return &cli.Command{
		Name:  "user",
		Usage: "who may log in, and what they are",
		Description: `A user is known by a certificate (cleatctl cert issue NAME) or by a password, and
may do what its roles permit.

Example:
  cleatctl user add alice --no-password
  cleatctl user grant-role alice reader`,
		Subcommands: []*cli.Command{
			userAddCommand(), userDeleteCommand(), userGetCommand(), userListCommand(), userPasswdCommand(),
			userRoleCommand("grant-role", "give a user a role", userGrantRole),
			userRoleCommand("revoke-role", "take a role from a user", userRevokeRole),
		},
	}
}

func interactiveFlag() cli.Flag {
	return &cli.BoolFlag{Name: "interactive", Value: true, Usage: "ask for the password at the terminal; =false reads it from stdin"}
}

func userAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "add a user",
		ArgsUsage: "NAME[:PASSWORD]",
		Description: `The password is asked for at the terminal unless it is given. On the line others
can read it while the command runs; stdin is better.

Example:
  cleatctl user add alice --no-password
  cleatctl user add bob --interactive=false <password`,
		Flags: []cli.Flag{
			interactiveFlag(),
			&cli.StringFlag{Name: "new-user-password", Usage: "the new user's `PASSWORD`"},
			&cli.BoolFlag{Name: "no-password", Usage: "the user comes with a certificate only"},
		},
		Action: userAdd,
	}
}

func userAdd(c *cli.Context) error {
	name := c.Args().First()
	if c.NArg() != 1 || name == "" {
		return misuse("user add needs NAME")
	}
	var password string
	switch {
	case c.Bool("no-password"):
	case c.String("new-user-password") != "":
		password = c.String("new-user-password")
	case strings.Contains(name, ":"):
		if name, password, _ = strings.Cut(name, ":"); name == "" {
			return misuse("user add needs NAME before the colon")
		}
	default:
		var err error
		if password, err = newPassword(c, name); err != nil {
			return err
		}
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.UserAddWithOptions(ctx, name, password, &clientv3.UserAddOptions{NoPassword: c.Bool("no-password")})
		if err != nil {
			return fmt.Errorf("add user %s: %w", name, err)
		}
		return s.done((*pb.AuthUserAddResponse)(reply), "User %s created", name)
	})
}

func userDeleteCommand() *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "delete a user",
		ArgsUsage: "NAME",
		Description: `Its tokens end at once. Its certificate stays a certificate, of nobody.

Example:
  cleatctl user delete alice`,
		Action: userDelete,
	}
}

func userDelete(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.UserDelete(ctx, name)
		if err != nil {
			return fmt.Errorf("delete user %s: %w", name, err)
		}
		return s.done((*pb.AuthUserDeleteResponse)(reply), "User %s deleted", name)
	})
}

func userGetCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "show a user's roles",
		ArgsUsage: "NAME",
		Description: `Example:
  cleatctl user get alice --detail`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "detail", Usage: "show what each role permits"}},
		Action: userGet,
	}
}

func userGet(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	forms := headerForms
	if c.Bool("detail") {
		forms = keyForms
	}
	return short(c, forms, func(ctx context.Context, s *session) error {
		reply, err := s.UserGet(ctx, name)
		if err != nil {
			return fmt.Errorf("get user %s: %w", name, err)
		}
		r := (*pb.AuthUserGetResponse)(reply)
		if c.Bool("detail") {
			return s.userDetail(ctx, name, r.GetRoles())
		}
		return s.out.print(answer{json: r, message: r, simple: func(p *printer) {
			p.linef("User: %s", name)
			p.linef("Roles:%s", spaced(r.GetRoles()))
		}})
	})
}

// userDetail is as etcdctl has it: the first line in any form, the roles in the
// form that was asked for.
func (s *session) userDetail(ctx context.Context, name string, roles []string) error {
	if err := s.out.say("User: %s", name); err != nil {
		return err
	}
	for _, role := range roles {
		reply, err := s.RoleGet(ctx, role)
		if err != nil {
			return fmt.Errorf("get role %s: %w", role, err)
		}
		if err := s.out.say(""); err != nil {
			return err
		}
		if err := s.showRole(role, (*pb.AuthRoleGetResponse)(reply)); err != nil {
			return err
		}
	}
	return nil
}

func spaced(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, " ")
}

func userListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the users",
		Description: `Example:
  cleatctl user list`,
		Action: userList,
	}
}

func userList(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, headerForms, func(ctx context.Context, s *session) error {
		reply, err := s.UserList(ctx)
		if err != nil {
			return err
		}
		r := (*pb.AuthUserListResponse)(reply)
		return s.out.print(answer{json: r, message: r, simple: func(p *printer) {
			for _, name := range r.GetUsers() {
				p.linef("%s", name)
			}
		}})
	})
}

func userPasswdCommand() *cli.Command {
	return &cli.Command{
		Name:      "passwd",
		Usage:     "change a user's password",
		ArgsUsage: "NAME",
		Description: `The user's tokens end at once.

Example:
  cleatctl user passwd alice`,
		Flags:  []cli.Flag{interactiveFlag()},
		Action: userPasswd,
	}
}

func userPasswd(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	password, err := newPassword(c, name)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.UserChangePassword(ctx, name, password)
		if err != nil {
			return fmt.Errorf("change the password of %s: %w", name, err)
		}
		return s.done((*pb.AuthUserChangePasswordResponse)(reply), "Password updated")
	})
}

func userRoleCommand(name, usage string, act func(context.Context, *session, string, string) error) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		ArgsUsage: "USER ROLE",
		Description: `Example:
  cleatctl user ` + name + ` alice reader`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return misuse("%s needs USER and ROLE", called(c))
			}
			return short(c, keyForms, func(ctx context.Context, s *session) error {
				return act(ctx, s, c.Args().Get(0), c.Args().Get(1))
			})
		},
	}
}

func userGrantRole(ctx context.Context, s *session, user, role string) error {
	reply, err := s.UserGrantRole(ctx, user, role)
	if err != nil {
		return fmt.Errorf("grant role %s to %s: %w", role, user, err)
	}
	return s.done((*pb.AuthUserGrantRoleResponse)(reply), "Role %s is granted to user %s", role, user)
}

func userRevokeRole(ctx context.Context, s *session, user, role string) error {
	reply, err := s.UserRevokeRole(ctx, user, role)
	if err != nil {
		return fmt.Errorf("revoke role %s from %s: %w", role, user, err)
	}
	return s.done((*pb.AuthUserRevokeRoleResponse)(reply), "Role %s is revoked from user %s", role, user)
}

func oneName(c *cli.Context) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", misuse("%s needs NAME", called(c))
	}
	return c.Args().First(), nil
}

// newPassword asks for a password twice at the terminal, or takes the first
// word of stdin. An empty one would let in everybody who knows the name.
func newPassword(c *cli.Context, name string) (string, error) {
	if !c.Bool("interactive") {
		words := bufio.NewScanner(c.App.Reader)
		words.Split(bufio.ScanWords)
		if !words.Scan() && words.Err() == nil {
			return "", misuse("%s found no password on stdin", called(c))
		}
		return words.Text(), words.Err()
	}
	input, ok := c.App.Reader.(*os.File)
	if !ok || !term.IsTerminal(int(input.Fd())) {
		return "", misuse("%s asks for the password at a terminal, and this is none: use --interactive=false and give it on stdin", called(c))
	}
	ask := func(prompt string) (string, error) {
		_, _ = fmt.Fprint(c.App.ErrWriter, prompt)
		typed, err := term.ReadPassword(int(input.Fd()))
		_, _ = fmt.Fprintln(c.App.ErrWriter)
		return string(typed), err
	}
	first, err := ask("Password of " + name + ": ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", misuse("the password is empty; a user without one is added with --no-password")
	}
	again, err := ask("Type password of " + name + " again for confirmation: ")
	if err == nil && first != again {
		return "", misuse("the two passwords differ")
	}
	return first, err
}
