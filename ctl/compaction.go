// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"strconv"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func compactionCommand() *cli.Command {
	return &cli.Command{
		Name:      "compaction",
		Usage:     "forget the history before a revision",
		ArgsUsage: "REVISION",
		Description: `Keys keep their present values. What was overwritten or deleted before REVISION
can no longer be read or watched, and its space is used again.

Example:
  cleatctl compaction 1200 --physical`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "physical", Usage: "wait until it is gone from the disk"}},
		Action: compact,
	}
}

func compact(c *cli.Context) error {
	revision, err := strconv.ParseInt(c.Args().First(), 10, 64)
	if err != nil || c.NArg() != 1 {
		return misuse("compaction needs REVISION, a number")
	}
	var options []clientv3.CompactOption
	if c.Bool("physical") {
		options = append(options, clientv3.WithCompactPhysical())
	}
	return short(c, anyForm, func(ctx context.Context, s *session) error {
		reply, err := s.Compact(ctx, revision, options...)
		if err != nil {
			return err
		}
		return s.out.line((*pb.CompactionResponse)(reply), "compacted revision %d", revision)
	})
}
