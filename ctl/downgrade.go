// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func downgradeCommand() *cli.Command {
	return &cli.Command{
		Name:  "downgrade",
		Usage: "prepare a cluster of etcd for an older version",
		Description: `A cleat member refuses every version: there is none to go back to. What it can
read it says itself when it starts.

Example:
  cleatctl downgrade validate 3.6`,
		Subcommands: []*cli.Command{
			downgradeTo("validate", "tell whether the cluster could go to a version", clientv3.DowngradeValidate),
			downgradeTo("enable", "begin to go to a version", clientv3.DowngradeEnable),
			{
				Name:  "cancel",
				Usage: "stay with the present version",
				Description: `Example:
  cleatctl downgrade cancel`,
				Action: func(c *cli.Context) error {
					if err := noArguments(c); err != nil {
						return err
					}
					return downgrade(c, clientv3.DowngradeCancel, "")
				},
			},
		},
	}
}

func downgradeTo(name, usage string, action clientv3.DowngradeAction) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		ArgsUsage: "VERSION",
		Description: `Example:
  cleatctl downgrade ` + name + ` 3.6`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || c.Args().First() == "" {
				return misuse("%s needs VERSION, such as 3.6", called(c))
			}
			return downgrade(c, action, c.Args().First())
		},
	}
}

func downgrade(c *cli.Context, action clientv3.DowngradeAction, version string) error {
	return short(c, headerForms, func(ctx context.Context, s *session) error {
		reply, err := s.Downgrade(ctx, action, version)
		if err != nil {
			return fmt.Errorf("%s: %w", called(c), err)
		}
		r := (*pb.DowngradeResponse)(reply)
		return s.out.print(answer{json: r, message: r, simple: func(p *printer) {
			p.linef("Downgrade %s success, cluster version %s", c.Command.Name, r.GetVersion())
		}})
	})
}
