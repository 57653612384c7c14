// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func leaseKeepAliveCommand() *cli.Command {
	return &cli.Command{
		Name:      "keep-alive",
		Usage:     "keep a lease alive until this command is stopped",
		ArgsUsage: "ID",
		Description: `Prints a line each time the lease starts anew, and ends when the lease has
ended. When the command is stopped the lease lives on for its TTL.

Examples:
  cleatctl lease keep-alive 694d5765fc71500b
  cleatctl lease keep-alive 694d5765fc71500b --once`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "start it anew once and leave"}},
		Action: leaseKeepAlive,
	}
}

func leaseKeepAlive(c *cli.Context) error {
	id, err := leaseArgument(c)
	if err != nil {
		return err
	}
	if c.Bool("once") {
		return short(c, keyForms, func(ctx context.Context, s *session) error {
			reply, err := s.KeepAliveOnce(ctx, id)
			if err != nil {
				return err
			}
			return s.out.print(keepAliveAnswer(reply))
		})
	}
	s, err := open(c, keyForms, chooseDoor)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.renew(id)
}

func (s *session) renew(id clientv3.LeaseID) error {
	replies, err := s.KeepAlive(s.c.Context, id)
	if err != nil {
		return err
	}
	for reply := range replies {
		if err := s.out.print(keepAliveAnswer(reply)); err != nil {
			return err
		}
	}
	if s.out.form == simpleForm {
		return s.out.say("lease %016x expired or revoked.", id)
	}
	return nil
}

func keepAliveAnswer(r *clientv3.LeaseKeepAliveResponse) answer {
	return answer{
		json:    r,
		message: r.ResponseHeader,
		simple:  func(p *printer) { p.linef("lease %016x keepalived with TTL(%d)", r.ID, r.TTL) },
		fields:  func(p *printer) { p.leaseTTL(r.ResponseHeader, r.ID, r.TTL) },
	}
}
