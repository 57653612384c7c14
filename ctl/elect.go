// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// electTTL is how long, in seconds, a leader may be gone before others lead.
const electTTL = 60

func electCommand() *cli.Command {
	return &cli.Command{
		Name:      "elect",
		Usage:     "stand for election, or watch who leads",
		ArgsUsage: "NAME [PROPOSAL]",
		Description: `With PROPOSAL it waits until it leads, prints the key and leads until SIGINT or
SIGTERM. With -l it prints the leader's key and proposal, and each further one.

Examples:
  cleatctl elect primary host1
  cleatctl elect primary -l`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "listen", Aliases: []string{"l"}, Usage: "only watch who leads"}},
		Action: elect,
	}
}

func elect(c *cli.Context) error {
	name, listen := c.Args().First(), c.Bool("listen")
	switch {
	case name == "" || c.NArg() > 2:
		return misuse("elect needs NAME, and PROPOSAL or -l")
	case c.NArg() == 1 && !listen:
		return misuse("elect needs PROPOSAL to stand for election, or -l to watch it")
	case c.NArg() == 2 && listen:
		return misuse("elect -l only watches: leave PROPOSAL out, or -l")
	}
	return stake(c, electTTL, func(ctx context.Context, h *claim) error {
		election := concurrency.NewElection(h.lease, name)
		if listen {
			return errors.Join(h.observe(ctx, election), h.giveBack("the lease"))
		}
		return errors.Join(h.campaign(ctx, election, c.Args().Get(1)), h.giveBack("the claim to election "+name))
	})
}

func (h *claim) observe(ctx context.Context, election *concurrency.Election) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	for leader := range election.Observe(watching) {
		if err := h.out.print(getAnswer((*pb.RangeResponse)(leader))); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("the watch was lost: start it again")
}

func (h *claim) campaign(ctx context.Context, election *concurrency.Election, proposal string) error {
	if err := election.Campaign(ctx, proposal); err != nil {
		return fmt.Errorf("wait to be elected: %w", interrupted(ctx, err))
	}
	return h.hold(ctx, election.Key())
}
