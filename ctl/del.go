// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func delCommand() *cli.Command {
	return &cli.Command{
		Name:      "del",
		Usage:     "delete a key or a range of keys",
		ArgsUsage: "KEY [RANGE_END]",
		Description: `Prints how many keys it deleted. RANGE_END is the first key that stays; a range
waits two seconds for second thoughts unless --range is given.

Examples:
  cleatctl del foo
  cleatctl del /home/ --prefix
  cleatctl del a c --range --prev-kv`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
			&cli.BoolFlag{Name: "from-key", Usage: "all keys from KEY on"},
			&cli.BoolFlag{Name: "range", Usage: "delete up to RANGE_END without waiting"},
			&cli.BoolFlag{Name: "prev-kv", Usage: "show what was deleted"},
		},
		Action: del,
	}
}

func del(c *cli.Context) error {
	op, err := delOp(c)
	if err != nil {
		return err
	}
	if c.NArg() == 2 && !c.Bool("range") {
		fmt.Fprintf(c.App.ErrWriter, "cleatctl: deletes the keys from %q up to %q in 2 seconds: interrupt to keep them, or give --range to delete without this delay\n",
			c.Args().Get(0), c.Args().Get(1))
		<-time.After(2 * time.Second)
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Do(ctx, op)
		if err != nil {
			return err
		}
		return s.out.print(delAnswer((*pb.DeleteRangeResponse)(reply.Del())))
	})
}

func delOp(c *cli.Context) (clientv3.Op, error) {
	key, options, err := keyRange(c)
	if err != nil {
		return clientv3.Op{}, err
	}
	if c.Bool("prev-kv") {
		options = append(options, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(key, options...), nil
}

func delAnswer(r *pb.DeleteRangeResponse) answer {
	return answer{
		json:    r,
		message: r,
		simple: func(p *printer) {
			p.linef("%d", r.GetDeleted())
			for _, record := range r.GetPrevKvs() {
				p.pair(record)
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			p.linef(`"Deleted" : %d`, r.GetDeleted())
			for _, record := range r.GetPrevKvs() {
				p.record("Prev", record)
			}
		},
	}
}
