// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func putCommand() *cli.Command {
	return &cli.Command{
		Name:      "put",
		Usage:     "put a value under a key",
		ArgsUsage: "KEY [VALUE]",
		Description: `Without VALUE it is read from standard input. Put -- before a KEY or VALUE
that begins with -.

Examples:
  cleatctl put foo bar
  cleatctl put config < config.json
  cleatctl put /dc/beijing1 13557 --lease=694d5765fc71500b
  cleatctl put temperature -- -4`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lease", Value: "0", Usage: "delete the key when the lease `ID`, in hexadecimal, ends"},
			&cli.BoolFlag{Name: "prev-kv", Usage: "show what the key held before"},
			&cli.BoolFlag{Name: "ignore-value", Usage: "keep the key's present value"},
			&cli.BoolFlag{Name: "ignore-lease", Usage: "keep the key's present lease"},
		},
		Action: put,
	}
}

func put(c *cli.Context) error {
	op, err := putOp(c, c.App.Reader)
	if err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Do(ctx, op)
		if err != nil {
			return err
		}
		return s.out.print(putAnswer((*pb.PutResponse)(reply.Put())))
	})
}

// putOp reads a missing value from input; nil means that there is none.
func putOp(c *cli.Context, input io.Reader) (clientv3.Op, error) {
	keep := c.Bool("ignore-value")
	if c.NArg() < 1 || c.NArg() > 2 {
		return clientv3.Op{}, misuse("put needs KEY and VALUE, or KEY and the value on standard input")
	}
	if keep && c.NArg() == 2 {
		return clientv3.Op{}, misuse("put --ignore-value keeps the present value: give KEY alone")
	}
	lease, err := leaseID(c.String("lease"))
	if err != nil {
		return clientv3.Op{}, err
	}
	value := c.Args().Get(1)
	if c.NArg() == 1 && !keep {
		if value, err = readValue(input); err != nil {
			return clientv3.Op{}, err
		}
	}
	options := []clientv3.OpOption{clientv3.WithLease(lease)}
	if c.Bool("prev-kv") {
		options = append(options, clientv3.WithPrevKV())
	}
	if keep {
		options = append(options, clientv3.WithIgnoreValue())
	}
	if c.Bool("ignore-lease") {
		options = append(options, clientv3.WithIgnoreLease())
	}
	return clientv3.OpPut(c.Args().First(), value, options...), nil
}

func readValue(input io.Reader) (string, error) {
	if input == nil {
		return "", misuse("put needs KEY and VALUE here")
	}
	value, err := io.ReadAll(input)
	if err != nil {
		return "", err
	}
	if len(value) == 0 {
		return "", misuse("put needs KEY and VALUE, or KEY and the value on standard input")
	}
	return string(value), nil
}

// leaseID reads an id as every command shows it: in hexadecimal.
func leaseID(text string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(text, 16, 64)
	if err != nil {
		return 0, misuse("%q is no lease id: give its hexadecimal digits, as lease grant and lease list print them", text)
	}
	return clientv3.LeaseID(id), nil
}

func putAnswer(r *pb.PutResponse) answer {
	return answer{
		json:    r,
		message: r,
		simple: func(p *printer) {
			p.linef("OK")
			if r.GetPrevKv() != nil {
				p.pair(r.GetPrevKv())
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			if r.GetPrevKv() != nil {
				p.record("Prev", r.GetPrevKv())
			}
		},
	}
}
