// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func memberCommand() *cli.Command {
	return &cli.Command{
		Name:  "member",
		Usage: "who is of the cluster",
		Description: `A machine comes in by cleatctl invite and join; member add is only for who wants
to give its member an ID and a peer URL in advance.

Example:
  cleatctl member list -w table
  cleatctl member remove 8211f1d0f64f3269`,
		Subcommands: []*cli.Command{
			memberListCommand(), memberAddCommand(), memberRemoveCommand(), memberUpdateCommand(), memberPromoteCommand(),
		},
	}
}

// memberForms are etcdctl's for member list, and ours for all of them.
var memberForms = []string{simpleForm, fieldsForm, jsonForm, tableForm, protobufForm}

func memberListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the members",
		Description: `The simple form lists ID, status, name, peer addresses, client addresses and
whether it is a learner.

Example:
  cleatctl member list -w table`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "consistency", Value: "l", Usage: "l, as the cluster agrees, or s, as the member spoken to knows: `l|s`"},
		},
		Action: memberList,
	}
}

func memberList(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("member list takes no argument")
	}
	var options []clientv3.OpOption
	switch consistency := c.String("consistency"); consistency {
	case "l":
	case "s":
		options = append(options, clientv3.WithSerializable())
	default:
		return misuse("--consistency %q: use l, linearizable, or s, serializable", consistency)
	}
	return short(c, memberForms, func(ctx context.Context, s *session) error {
		reply, err := s.MemberList(ctx, options...)
		if err != nil {
			return fmt.Errorf("list the members: %w", err)
		}
		m := membership{message: (*pb.MemberListResponse)(reply), header: reply.Header, members: reply.Members}
		return s.out.print(m.answer(s.out.hex, func(p *printer) {
			for _, member := range reply.Members {
				p.linef("%s", strings.Join(memberRow(member), ", "))
			}
		}))
	})
}

// memberID is a command's one argument.
func memberID(c *cli.Context) (uint64, error) {
	if c.NArg() != 1 {
		return 0, misuse("%s needs one member ID, as member list shows it", called(c))
	}
	id, err := strconv.ParseUint(c.Args().First(), 16, 64)
	if err != nil {
		return 0, misuse("%q is no member's ID: give it in hexadecimal, as member list shows it", c.Args().First())
	}
	return id, nil
}
