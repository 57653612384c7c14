// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "get a key or a range of keys",
		ArgsUsage: "KEY [RANGE_END]",
		Description: `Prints each key and its value, a line each. RANGE_END is the first key that is
left out.

Examples:
  cleatctl get foo
  cleatctl get /home/ --prefix --keys-only
  cleatctl get foo --print-value-only --rev=4`,
		Flags:  getFlags(),
		Action: get,
	}
}

func getFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
		&cli.BoolFlag{Name: "from-key", Usage: "all keys from KEY on"},
		&cli.Int64Flag{Name: "limit", Usage: "at most `N` keys"},
		&cli.Int64Flag{Name: "rev", Usage: "as of revision `REV`"},
		&cli.StringFlag{Name: "consistency", Value: "l", Usage: "`HOW`: l for linearizable, s for this member's present state"},
		&cli.StringFlag{Name: "order", Usage: "sort in this `ORDER`: ASCEND or DESCEND"},
		&cli.StringFlag{Name: "sort-by", Usage: "sort by this `PART`: KEY, VERSION, CREATE, MODIFY or VALUE"},
		&cli.BoolFlag{Name: "keys-only", Usage: "leave the values out"},
		&cli.BoolFlag{Name: "count-only", Usage: "only the count; not with -w simple"},
		&cli.BoolFlag{Name: "print-value-only", Usage: "print values without keys; only with -w simple"},
		&cli.Int64Flag{Name: "min-create-rev", Usage: "only keys made at `REV` or later"},
		&cli.Int64Flag{Name: "max-create-rev", Usage: "only keys made at `REV` or before"},
		&cli.Int64Flag{Name: "min-mod-rev", Usage: "only keys changed at `REV` or later"},
		&cli.Int64Flag{Name: "max-mod-rev", Usage: "only keys changed at `REV` or before"},
		&cli.BoolFlag{Name: "stream", Usage: "let the member send the range in pieces"},
	}
}

func get(c *cli.Context) error {
	op, err := getOp(c)
	if err != nil {
		return err
	}
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	if c.Bool("count-only") && form == simpleForm {
		return misuse("--count-only needs -w fields, json or protobuf: the simple form shows keys and values only")
	}
	if c.Bool("print-value-only") && form != simpleForm {
		return misuse("--print-value-only needs -w simple")
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		s.out.valueOnly = c.Bool("print-value-only")
		reply, err := s.fetch(ctx, op, c.Bool("stream"))
		if err != nil {
			return err
		}
		return s.out.print(getAnswer(reply))
	})
}

func (s *session) fetch(ctx context.Context, op clientv3.Op, stream bool) (*pb.RangeResponse, error) {
	if !stream {
		reply, err := s.Do(ctx, op)
		return (*pb.RangeResponse)(reply.Get()), err
	}
	pieces, err := s.GetStream(ctx, string(op.KeyBytes()), func(o *clientv3.Op) { *o = op })
	if err != nil {
		return nil, err
	}
	reply, err := clientv3.GetStreamToGetResponse(pieces)
	return (*pb.RangeResponse)(reply), err
}

func getOp(c *cli.Context) (clientv3.Op, error) {
	key, options, err := keyRange(c)
	if err != nil {
		return clientv3.Op{}, err
	}
	if c.Bool("keys-only") && c.Bool("count-only") {
		return clientv3.Op{}, misuse("--keys-only and --count-only exclude each other: give one of them")
	}
	consistency, err := consistencyOption(c)
	if err != nil {
		return clientv3.Op{}, err
	}
	sorting, err := sortOption(c)
	if err != nil {
		return clientv3.Op{}, err
	}
	bounds, err := revisionBounds(c)
	if err != nil {
		return clientv3.Op{}, err
	}
	options = append(options, clientv3.WithLimit(c.Int64("limit")), sorting)
	options = append(append(options, consistency...), bounds...)
	if rev := c.Int64("rev"); rev > 0 {
		options = append(options, clientv3.WithRev(rev))
	}
	if c.Bool("keys-only") {
		options = append(options, clientv3.WithKeysOnly())
	}
	if c.Bool("count-only") {
		options = append(options, clientv3.WithCountOnly())
	}
	return clientv3.OpGet(key, options...), nil
}

// keyRange is what get and del have in common: KEY, KEY RANGE_END, --prefix
// and --from-key. An empty key means the first of all.
func keyRange(c *cli.Context) (string, []clientv3.OpOption, error) {
	prefix, fromKey := c.Bool("prefix"), c.Bool("from-key")
	key := c.Args().First()
	switch {
	case c.NArg() < 1 || c.NArg() > 2:
		return "", nil, misuse("%s needs KEY, or KEY and RANGE_END", c.Command.Name)
	case prefix && fromKey:
		return "", nil, misuse("--prefix and --from-key exclude each other: give one of them")
	case c.NArg() == 2 && (prefix || fromKey):
		return "", nil, misuse("with --prefix or --from-key give KEY alone, without RANGE_END")
	case c.NArg() == 2:
		return key, []clientv3.OpOption{clientv3.WithRange(c.Args().Get(1))}, nil
	case key == "" && (prefix || fromKey):
		return "\x00", []clientv3.OpOption{clientv3.WithFromKey()}, nil
	case prefix:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}, nil
	case fromKey:
		return key, []clientv3.OpOption{clientv3.WithFromKey()}, nil
	}
	return key, nil, nil
}

func consistencyOption(c *cli.Context) ([]clientv3.OpOption, error) {
	switch c.String("consistency") {
	case "l":
		return nil, nil
	case "s":
		return []clientv3.OpOption{clientv3.WithSerializable()}, nil
	}
	return nil, misuse("--consistency is l or s, not %q", c.String("consistency"))
}

func sortOption(c *cli.Context) (clientv3.OpOption, error) {
	order, ok := map[string]clientv3.SortOrder{
		"": clientv3.SortNone, "ASCEND": clientv3.SortAscend, "DESCEND": clientv3.SortDescend,
	}[strings.ToUpper(c.String("order"))]
	if !ok {
		return nil, misuse("--order is ASCEND or DESCEND, not %q", c.String("order"))
	}
	target, ok := map[string]clientv3.SortTarget{
		"": clientv3.SortByKey, "KEY": clientv3.SortByKey, "VERSION": clientv3.SortByVersion, "VALUE": clientv3.SortByValue,
		"CREATE": clientv3.SortByCreateRevision, "MODIFY": clientv3.SortByModRevision,
	}[strings.ToUpper(c.String("sort-by"))]
	if !ok {
		return nil, misuse("--sort-by is KEY, VERSION, CREATE, MODIFY or VALUE, not %q", c.String("sort-by"))
	}
	return clientv3.WithSort(target, order), nil
}

func revisionBounds(c *cli.Context) ([]clientv3.OpOption, error) {
	var options []clientv3.OpOption
	for _, bound := range []struct {
		name     string
		min, max func(int64) clientv3.OpOption
	}{
		{"create", clientv3.WithMinCreateRev, clientv3.WithMaxCreateRev},
		{"mod", clientv3.WithMinModRev, clientv3.WithMaxModRev},
	} {
		least, most := c.Int64("min-"+bound.name+"-rev"), c.Int64("max-"+bound.name+"-rev")
		if most > 0 && least > most {
			return nil, misuse("--min-%s-rev %d is above --max-%s-rev %d", bound.name, least, bound.name, most)
		}
		if least > 0 {
			options = append(options, bound.min(least))
		}
		if most > 0 {
			options = append(options, bound.max(most))
		}
	}
	return options, nil
}

func getAnswer(r *pb.RangeResponse) answer {
	return answer{
		json:    r,
		message: r,
		simple: func(p *printer) {
			for _, record := range r.GetKvs() {
				p.pair(record)
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			for _, record := range r.GetKvs() {
				p.record("", record)
			}
			p.linef(`"More" : %t`, r.GetMore())
			p.linef(`"Count" : %d`, r.GetCount())
		},
	}
}
