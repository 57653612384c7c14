// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func leaseCommand() *cli.Command {
	return &cli.Command{
		Name:  "lease",
		Usage: "leases: keys that go away unless someone keeps them alive",
		Description: `Example:
  cleatctl lease grant 60
  cleatctl put /dc/beijing1 13557 --lease=694d5765fc71500b
  cleatctl lease keep-alive 694d5765fc71500b`,
		Subcommands: []*cli.Command{
			leaseGrantCommand(), leaseRevokeCommand(), leaseTimeToLiveCommand(), leaseListCommand(), leaseKeepAliveCommand(),
		},
	}
}

func leaseGrantCommand() *cli.Command {
	return &cli.Command{
		Name:      "grant",
		Usage:     "make a lease that lives TTL seconds",
		ArgsUsage: "TTL",
		Description: `Prints the id to give to put --lease.

Example:
  cleatctl lease grant 60`,
		Action: leaseGrant,
	}
}

func leaseGrant(c *cli.Context) error {
	ttl, err := strconv.ParseInt(c.Args().First(), 10, 64)
	if err != nil || c.NArg() != 1 {
		return misuse("lease grant needs TTL, a number of seconds")
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Grant(ctx, ttl)
		if err != nil {
			return fmt.Errorf("grant a lease: %w", err)
		}
		return s.out.print(answer{
			json:    reply,
			message: reply.ResponseHeader, // the header alone, as etcdctl
			simple:  func(p *printer) { p.linef("lease %016x granted with TTL(%ds)", reply.ID, reply.TTL) },
			fields:  func(p *printer) { p.leaseTTL(reply.ResponseHeader, reply.ID, reply.TTL) },
		})
	})
}

// leaseTTL is what the fields form shows of a lease.
func (p *printer) leaseTTL(h *pb.ResponseHeader, id clientv3.LeaseID, ttl int64) {
	p.header(h)
	p.linef(`"ID" : %s`, p.lease(int64(id)))
	p.linef(`"TTL" : %d`, ttl)
}

func leaseRevokeCommand() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "end a lease and delete its keys",
		ArgsUsage: "ID",
		Description: `Example:
  cleatctl lease revoke 694d5765fc71500b`,
		Action: leaseRevoke,
	}
}

func leaseRevoke(c *cli.Context) error {
	id, err := leaseArgument(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Revoke(ctx, id)
		if err != nil {
			return fmt.Errorf("revoke lease %016x: %w", uint64(id), err)
		}
		message := (*pb.LeaseRevokeResponse)(reply)
		return s.out.print(answer{
			json:    message,
			message: message,
			simple:  func(p *printer) { p.linef("lease %016x revoked", id) },
			fields:  func(p *printer) { p.header(message.GetHeader()) },
		})
	})
}

func leaseArgument(c *cli.Context) (clientv3.LeaseID, error) {
	if c.NArg() != 1 {
		return 0, misuse("%s needs one lease ID, as lease grant and lease list print it", called(c))
	}
	return leaseID(c.Args().First())
}

func leaseTimeToLiveCommand() *cli.Command {
	return &cli.Command{
		Name:      "timetolive",
		Usage:     "show how long a lease has left",
		ArgsUsage: "ID",
		Description: `Example:
  cleatctl lease timetolive 694d5765fc71500b --keys`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "keys", Usage: "show the keys attached to it"}},
		Action: leaseTimeToLive,
	}
}

func leaseTimeToLive(c *cli.Context) error {
	id, err := leaseArgument(c)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		var options []clientv3.LeaseOption
		if c.Bool("keys") {
			options = append(options, clientv3.WithAttachedKeys())
		}
		reply, err := s.TimeToLive(ctx, id, options...)
		if err != nil {
			return err
		}
		return s.out.print(timeToLiveAnswer(reply, c.Bool("keys")))
	})
}

func timeToLiveAnswer(r *clientv3.LeaseTimeToLiveResponse, keys bool) answer {
	return answer{
		json:    r,
		message: r.ResponseHeader,
		simple: func(p *printer) {
			if r.GrantedTTL == 0 && r.TTL == -1 {
				p.linef("lease %016x already expired", r.ID)
				return
			}
			text := fmt.Sprintf("lease %016x granted with TTL(%ds), remaining(%ds)", r.ID, r.GrantedTTL, r.TTL)
			if keys {
				text += fmt.Sprintf(", attached keys(%s)", r.Keys)
			}
			p.linef("%s", text)
		},
		fields: func(p *printer) {
			p.leaseTTL(r.ResponseHeader, r.ID, r.TTL)
			p.linef(`"GrantedTTL" : %d`, r.GrantedTTL)
			for _, key := range r.Keys {
				p.linef(`"Key" : %q`, key)
			}
		},
	}
}

func leaseListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the leases that live",
		Description: `Example:
  cleatctl lease list`,
		Action: leaseList,
	}
}

func leaseList(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("lease list takes no argument")
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Leases(ctx)
		if err != nil {
			return err
		}
		return s.out.print(answer{
			json:    reply,
			message: reply.ResponseHeader,
			simple: func(p *printer) {
				p.linef("found %d leases", len(reply.Leases))
				for _, lease := range reply.Leases {
					p.linef("%016x", lease.ID)
				}
			},
			fields: func(p *printer) {
				p.header(reply.ResponseHeader)
				for _, lease := range reply.Leases {
					p.linef(`"ID" : %s`, p.lease(int64(lease.ID)))
				}
			},
		})
	})
}
