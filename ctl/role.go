// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func roleCommand() *cli.Command {
	return &cli.Command{
		Name:  "role",
		Usage: "what users may do",
		Description: `A role permits reading, writing or both, of keys or ranges. The role root permits
everything.

Example:
  cleatctl role add reader
  cleatctl role grant-permission reader read app/ --prefix`,
		Subcommands: []*cli.Command{
			roleAddCommand(), roleDeleteCommand(), roleGetCommand(), roleListCommand(),
			roleGrantPermissionCommand(), roleRevokePermissionCommand(),
		},
	}
}

func roleAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a role", ArgsUsage: "NAME",
		Description: `Example:
  cleatctl role add reader`,
		Action: roleAdd,
	}
}

func roleAdd(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleAdd(ctx, name)
		if err != nil {
			return fmt.Errorf("add role %s: %w", name, err)
		}
		return s.done((*pb.AuthRoleAddResponse)(reply), "Role %s created", name)
	})
}

func roleDeleteCommand() *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "delete a role, and take it from its users", ArgsUsage: "NAME",
		Description: `Example:
  cleatctl role delete reader`,
		Action: roleDelete,
	}
}

func roleDelete(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleDelete(ctx, name)
		if err != nil {
			return fmt.Errorf("delete role %s: %w", name, err)
		}
		return s.done((*pb.AuthRoleDeleteResponse)(reply), "Role %s deleted", name)
	})
}

func roleGetCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "show what a role permits", ArgsUsage: "NAME",
		Description: `Example:
  cleatctl role get reader`,
		Action: roleGet,
	}
}

func roleGet(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleGet(ctx, name)
		if err != nil {
			return fmt.Errorf("get role %s: %w", name, err)
		}
		return s.showRole(name, (*pb.AuthRoleGetResponse)(reply))
	})
}

// showRole writes a role's permissions.
func (s *session) showRole(name string, r *pb.AuthRoleGetResponse) error {
	return s.out.print(answer{
		json: r, message: r,
		simple: func(p *printer) {
			p.linef("Role %s", name)
			p.linef("KV Read:")
			p.permissions(r.GetPerm(), authpb.Permission_READ)
			p.linef("KV Write:")
			p.permissions(r.GetPerm(), authpb.Permission_WRITE)
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			for _, perm := range r.GetPerm() {
				p.linef(`"PermType" :  %s`, perm.GetPermType())
				p.linef(`"Key" : %q`, perm.GetKey())
				p.linef(`"RangeEnd" : %q`, perm.GetRangeEnd())
			}
		},
	})
}

// permissions are those of a kind, a line each.
func (p *printer) permissions(all []*authpb.Permission, kind authpb.Permission_Type) {
	for _, perm := range all {
		if perm.GetPermType() != kind && perm.GetPermType() != authpb.Permission_READWRITE {
			continue
		}
		key, end := string(perm.GetKey()), string(perm.GetRangeEnd())
		if end == "" {
			p.linef("\t%s", key)
			continue
		}
		of := ""
		if key != "" && clientv3.GetPrefixRangeEnd(key) == end {
			of = " (prefix " + key + ")"
		}
		p.linef("\t%s%s", interval(key, end), of)
	}
}

// interval writes a range of keys.
func interval(key, end string) string {
	if end == "\x00" {
		return "[" + key + ", <open ended>"
	}
	return "[" + key + ", " + end + ")"
}

func roleListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the roles",
		Description: `Example:
  cleatctl role list`,
		Action: roleList,
	}
}

func roleList(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleList(ctx)
		if err != nil {
			return err
		}
		r := (*pb.AuthRoleListResponse)(reply)
		return s.out.print(answer{
			json: r, message: r,
			simple: func(p *printer) {
				for _, name := range r.GetRoles() {
					p.linef("%s", name)
				}
			},
			fields: func(p *printer) {
				p.header(r.GetHeader())
				text := `"Roles" :`
				for _, name := range r.GetRoles() {
					text += fmt.Sprintf(" %q", name)
				}
				p.linef("%s", text)
			},
		})
	})
}

func permissionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
		&cli.BoolFlag{Name: "from-key", Usage: "all keys from KEY on"},
	}
}

func roleGrantPermissionCommand() *cli.Command {
	return &cli.Command{
		Name: "grant-permission", Usage: "let a role read or write keys", ArgsUsage: "ROLE read|write|readwrite KEY [RANGE_END]",
		Description: `A permission of the same range is replaced.

Example:
  cleatctl role grant-permission reader read app/ --prefix`,
		Flags:  permissionFlags(),
		Action: roleGrantPermission,
	}
}

func roleGrantPermission(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) != 3 && len(args) != 4 {
		return misuse("role grant-permission needs ROLE, one of read, write, readwrite, and KEY or KEY and RANGE_END")
	}
	kind, err := clientv3.StrToPermissionType(args[1])
	if err != nil {
		return misuse("%q is none of read, write, readwrite", args[1])
	}
	key, end, err := permissionRange(c, args[2:])
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleGrantPermission(ctx, args[0], key, end, kind)
		if err != nil {
			return fmt.Errorf("grant a permission to role %s: %w", args[0], err)
		}
		return s.done((*pb.AuthRoleGrantPermissionResponse)(reply), "Role %s updated", args[0])
	})
}

func roleRevokePermissionCommand() *cli.Command {
	return &cli.Command{
		Name: "revoke-permission", Usage: "take a permission from a role", ArgsUsage: "ROLE KEY [RANGE_END]",
		Description: `The range must be just the one that was granted.

Example:
  cleatctl role revoke-permission reader app/ --prefix`,
		Flags:  permissionFlags(),
		Action: roleRevokePermission,
	}
}

func roleRevokePermission(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) != 2 && len(args) != 3 {
		return misuse("role revoke-permission needs ROLE, and KEY or KEY and RANGE_END")
	}
	key, end, err := permissionRange(c, args[1:])
	if err != nil {
		return err
	}
	what := "key " + args[1]
	if end != "" {
		what = "range " + interval(args[1], end)
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.RoleRevokePermission(ctx, args[0], key, end)
		if err != nil {
			return fmt.Errorf("revoke a permission of role %s: %w", args[0], err)
		}
		return s.done((*pb.AuthRoleRevokePermissionResponse)(reply), "Permission of %s is revoked from role %s", what, args[0])
	})
}

// permissionRange is KEY, KEY RANGE_END, --prefix or --from-key. An empty key
// stands for the first of all.
func permissionRange(c *cli.Context, args []string) (key, end string, err error) {
	prefix, fromKey := c.Bool("prefix"), c.Bool("from-key")
	key = args[0]
	switch {
	case prefix && fromKey:
		return "", "", misuse("--prefix and --from-key exclude each other: give one of them")
	case len(args) == 2 && (prefix || fromKey):
		return "", "", misuse("with --prefix or --from-key give KEY alone, without RANGE_END")
	case key == "" && (prefix || fromKey):
		return "\x00", "\x00", nil
	case key == "":
		return "\x00", "", nil
	case prefix:
		return key, clientv3.GetPrefixRangeEnd(key), nil
	case fromKey:
		return key, "\x00", nil
	case len(args) == 2:
		return key, args[1], nil
	}
	return key, "", nil
}
