// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func endpointHashKVCommand() *cli.Command {
	return &cli.Command{
		Name:  "hashkv",
		Usage: "show a hash of each member's history, to compare them",
		Description: `Members that hold the same history up to a revision have the same hash there.

Example:
  cleatctl endpoint hashkv --cluster --rev=1200`,
		Flags: []cli.Flag{
			clusterFlag(),
			&cli.Int64Flag{Name: "rev", DefaultText: "the present", Usage: "hash the history up to revision `REV`"},
		},
		Action: endpointHashKV,
	}
}

// memberHash is one endpoint's, with etcdctl's names in JSON.
type memberHash struct {
	Endpoint string
	HashKV   *pb.HashKVResponse
}

func endpointHashKV(c *cli.Context) error {
	out, err := newPrinter(c, endpointForms)
	if err != nil {
		return err
	}
	all, failed := askAll(c, func(ctx context.Context, p place) (memberHash, error) {
		s, err := p.connect(c)
		if err != nil {
			return memberHash{}, fmt.Errorf("get the hash of %s: %w", p.endpoint, err)
		}
		defer s.Close()
		reply, err := s.HashKV(ctx, p.way.endpoints[0], c.Int64("rev"))
		if err != nil {
			return memberHash{}, fmt.Errorf("get the hash of %s: %w", p.endpoint, err)
		}
		return memberHash{p.endpoint, (*pb.HashKVResponse)(reply)}, nil
	})
	return errors.Join(out.print(hashAnswer(all)), failed)
}

func hashAnswer(all []memberHash) answer {
	return answer{
		json: all,
		simple: func(p *printer) {
			for _, each := range all {
				p.linef("%s", strings.Join(each.row(), ", "))
			}
		},
		fields: func(p *printer) {
			for _, each := range all {
				p.header(each.HashKV.GetHeader())
				p.linef(`"Endpoint" : %q`, each.Endpoint)
				p.linef(`"Hash" : %d`, each.HashKV.GetHash())
				p.linef(`"HashRevision" : %d`, each.HashKV.GetHashRevision())
				p.linef("")
			}
		},
		table: func() table {
			rows := table{{"endpoint", "hash", "hash_revision"}}
			for _, each := range all {
				rows = append(rows, each.row())
			}
			return rows
		},
	}
}

func (m memberHash) row() []string {
	return []string{m.Endpoint, fmt.Sprint(m.HashKV.GetHash()), fmt.Sprint(m.HashKV.GetHashRevision())}
}
