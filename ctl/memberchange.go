// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func peerURLsFlag(whose string) cli.Flag {
	return &cli.StringFlag{Name: "peer-urls", Usage: "the `URLS` of " + whose + " for other members, with commas between them"}
}

func peerURLs(c *cli.Context) ([]string, error) {
	if c.String("peer-urls") == "" {
		return nil, misuse("%s needs --peer-urls, as https://10.0.0.2:2380", called(c))
	}
	return strings.Split(c.String("peer-urls"), ","), nil
}

func memberAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "announce a member, which gets its ID now and joins later",
		ArgsUsage: "NAME",
		Description: `Nothing of how the cluster agrees changes before the machine has come: it joins
with the line that cleatctl invite --member ID prints on a member.

Example:
  cleatctl member add three --peer-urls=https://10.0.0.3:2380`,
		Flags: []cli.Flag{
			peerURLsFlag("the new member"),
			&cli.BoolFlag{Name: "learner", Usage: "the member is to learn and never to vote"},
		},
		Action: memberAdd,
	}
}

func memberAdd(c *cli.Context) error {
	name := c.Args().First()
	if c.NArg() != 1 || name == "" {
		return misuse("member add needs NAME, and takes addresses as --peer-urls=https://10.0.0.3:2380")
	}
	urls, err := peerURLs(c)
	if err != nil {
		return err
	}
	return short(c, memberForms, func(ctx context.Context, s *session) error {
		add := s.MemberAdd
		if c.Bool("learner") {
			add = s.MemberAddAsLearner
		}
		reply, err := add(ctx, urls)
		if err != nil {
			return fmt.Errorf("add member %s: %w", name, err)
		}
		m := membership{message: (*pb.MemberAddResponse)(reply), header: reply.Header, added: reply.Member, members: reply.Members}
		if err := s.out.print(m.answer(s.out.hex, func(p *printer) { p.added(reply, name, c.String("peer-urls")) })); err != nil {
			return err
		}
		note(c, "on a member, cleatctl invite --member %x prints the line with which the machine joins", reply.Member.GetID())
		return nil
	})
}

// added is member add's simple form. The variables are those that etcd's scripts
// look for; a cleat member needs none of them.
func (p *printer) added(r *clientv3.MemberAddResponse, name, urls string) {
	as := " "
	if r.Member.GetIsLearner() {
		as = " as learner "
	}
	p.linef("Member %16x added%sto cluster %16x", r.Member.GetID(), as, r.Header.GetClusterId())
	var cluster []string
	for _, member := range r.Members {
		called := member.GetName()
		if member.GetID() == r.Member.GetID() {
			called = name
		}
		for _, url := range member.GetPeerURLs() {
			cluster = append(cluster, called+"="+url)
		}
	}
	p.linef("")
	p.linef("ETCD_NAME=%q", name)
	p.linef("ETCD_INITIAL_CLUSTER=%q", strings.Join(cluster, ","))
	p.linef("ETCD_INITIAL_ADVERTISE_PEER_URLS=%q", urls)
	p.linef(`ETCD_INITIAL_CLUSTER_STATE="existing"`)
}

func memberRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "remove a member for good",
		ArgsUsage: "ID",
		Description: `Its certificate is refused from then on, and its ID is never used again. One
whose going would leave too few to agree is not removed.

Example:
  cleatctl member remove 8211f1d0f64f3269`,
		Action: memberRemove,
	}
}

func memberRemove(c *cli.Context) error {
	return changeMember(c, "remove", "removed from", func(ctx context.Context, s *session, id uint64) (membership, error) {
		reply, err := s.MemberRemove(ctx, id)
		if err != nil {
			return membership{}, err
		}
		return membership{message: (*pb.MemberRemoveResponse)(reply), header: reply.Header, members: reply.Members}, nil
	})
}

func memberUpdateCommand() *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "tell the others of a member's new address",
		ArgsUsage: "ID",
		Description: `A cleat member tells the others itself when its advertise setting changes. This is
for when they must know before.

Example:
  cleatctl member update 8211f1d0f64f3269 --peer-urls=https://10.0.0.4:2380`,
		Flags:  []cli.Flag{peerURLsFlag("the member")},
		Action: memberUpdate,
	}
}

func memberUpdate(c *cli.Context) error {
	if _, err := memberID(c); err != nil {
		return err
	}
	urls, err := peerURLs(c)
	if err != nil {
		return err
	}
	return changeMember(c, "update", "updated in", func(ctx context.Context, s *session, id uint64) (membership, error) {
		reply, err := s.MemberUpdate(ctx, id, urls)
		if err != nil {
			return membership{}, err
		}
		return membership{message: (*pb.MemberUpdateResponse)(reply), header: reply.Header, members: reply.Members}, nil
	})
}

func memberPromoteCommand() *cli.Command {
	return &cli.Command{
		Name:      "promote",
		Usage:     "let a learner vote",
		ArgsUsage: "ID",
		Description: `Members that join are promoted without this when they have caught up, unless they
were invited with --learner.

Example:
  cleatctl member promote 8211f1d0f64f3269`,
		Action: memberPromote,
	}
}

func memberPromote(c *cli.Context) error {
	return changeMember(c, "promote", "promoted in", func(ctx context.Context, s *session, id uint64) (membership, error) {
		reply, err := s.MemberPromote(ctx, id)
		if err != nil {
			return membership{}, err
		}
		return membership{message: (*pb.MemberPromoteResponse)(reply), header: reply.Header, members: reply.Members}, nil
	})
}

// changeMember does one thing to the member that the command's argument names.
func changeMember(c *cli.Context, act, done string, change func(context.Context, *session, uint64) (membership, error)) error {
	id, err := memberID(c)
	if err != nil {
		return err
	}
	return short(c, memberForms, func(ctx context.Context, s *session) error {
		m, err := change(ctx, s, id)
		if err != nil {
			return fmt.Errorf("%s member %x: %w", act, id, err)
		}
		return s.out.print(m.answer(s.out.hex, func(p *printer) {
			p.linef("Member %16x %s cluster %16x", id, done, m.header.GetClusterId())
		}))
	})
}
