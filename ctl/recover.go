// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name:      "recover",
		Usage:     "make this machine's member a cluster of its own, when the majority is lost for good",
		ArgsUsage: " ",
		Description: `Speaks to the socket of this machine's member, which must run and see no leader,
and makes it the only member of a new cluster with all the data that it has. Of
several members that are left choose the one with the newest data: cleatctl
status shows its revision. What the others acknowledged and this one has not
heard of is lost. Members that come back are refused: let them join again with
cleatctl join --discard. A member that is stopped is recovered by cleatd recover.

Example:
  cleatctl recover --force-new-cluster`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force-new-cluster", Usage: "I know what is lost"},
		},
		Action: recoverMember,
	}
}

func recoverMember(c *cli.Context) error {
	if c.Args().Present() {
		return misuse("recover takes no argument, but was given %q", c.Args().First())
	}
	if !c.Bool("force-new-cluster") {
		return misuse("recover makes this member a cluster of its own: what the others acknowledged and it has not heard of is lost; if the majority is gone for good, give --force-new-cluster")
	}
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(c.Context, max(c.Duration("command-timeout"), 30*time.Second))
	defer cancel()
	calls := admin.NewAdminClient(s.ActiveConnection())
	before, err := calls.Status(ctx, &admin.StatusRequest{})
	if err != nil {
		return fmt.Errorf("recover: %s", plainly(status.Convert(err).Message()))
	}
	reply, err := calls.Recover(ctx, &admin.RecoverRequest{ForceNewCluster: true})
	if err != nil {
		return fmt.Errorf("recover: %s", plainly(status.Convert(err).Message()))
	}
	now, err := awaitNewCluster(ctx, calls, before.GetClusterId())
	if err != nil {
		return fmt.Errorf("recover: the member was told to, but does not serve yet: %s; its log says why", plainly(status.Convert(err).Message()))
	}
	form, err := jsonOf(reply)
	if err != nil {
		return err
	}
	return s.out.print(answer{json: form, simple: func(p *printer) {
		p.linef("Member %x is a cluster of its own now, %x, at revision %d", now.GetMemberId(), now.GetClusterId(), now.GetDatabase().GetRevision())
		if n := reply.GetUnconfirmed(); n > 0 {
			p.linef("The last %d entries of its log count; they were not known to be agreed upon", n)
		}
		for _, m := range reply.GetRemoved() {
			p.linef("Member %x (%s) is none any more: what it had acknowledged alone with others is lost", m.GetId(), m.GetName())
		}
	}})
}

// awaitNewCluster waits until the member serves another cluster than before.
func awaitNewCluster(ctx context.Context, calls admin.AdminClient, before uint64) (*admin.StatusResponse, error) {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		s, err := calls.Status(ctx, &admin.StatusRequest{})
		if err == nil && s.GetClusterId() != before && s.GetRaft().GetLeader() != 0 {
			return s, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return nil, err
		case <-retry.C:
		}
	}
}
