// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
)

func defragCommand() *cli.Command {
	return &cli.Command{
		Name:  "defrag",
		Usage: "give freed space back to the disk (a cleat member does so by itself)",
		Description: `For scripts that come from etcd: a cleat member has nothing to defragment and
answers at once. An etcd takes no request meanwhile, so members are asked one
after the other.

Example:
  cleatctl defrag --cluster`,
		Flags:  []cli.Flag{clusterFlag()},
		Action: defrag,
	}
}

type defragmented struct {
	Endpoint string `json:"endpoint"`
	Took     string `json:"took"`
}

func defrag(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	out, err := newPrinter(c, anyForm)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	all, err := places(ctx, c)
	if err != nil {
		return err
	}
	var failed []error
	for _, each := range all {
		took, err := each.defragment(c)
		if err != nil {
			failed = append(failed, fmt.Errorf("defragment %s: %w", each.endpoint, err))
			continue
		}
		if err := out.line(defragmented{each.endpoint, took.String()}, "Finished defragmenting etcd member[%s]. took %s", each.endpoint, took); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// defragment asks the one member at this place. Each has the command's time.
func (p place) defragment(c *cli.Context) (time.Duration, error) {
	s, err := p.connect(c)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	start := time.Now()
	_, err = s.Defragment(ctx, p.way.endpoints[0])
	return time.Since(start), err
}
