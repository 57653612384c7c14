// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// foundingFlags are etcdutl's that say who the members of the restored cluster
// are. Here it has one, and others join it: what says otherwise is refused.
func foundingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Hidden: true},
		&cli.StringFlag{Name: "initial-cluster", Hidden: true},
		&cli.StringFlag{Name: "initial-cluster-token", Hidden: true},
		&cli.StringFlag{Name: "initial-advertise-peer-urls", Hidden: true},
		&cli.StringFlag{Name: "initial-memory-map-size", Hidden: true},
		&cli.StringFlag{Name: "wal-dir", Hidden: true},
	}
}

func checkFounding(c *cli.Context) error {
	if c.String("wal-dir") != "" {
		return misuse("--wal-dir %s: the log lies in the data directory; leave the flag out", c.String("wal-dir"))
	}
	if members := c.String("initial-cluster"); strings.Contains(members, ",") {
		return misuse("--initial-cluster %s: a restored cluster has one member: restore on one machine only, and let the others join it with cleatctl invite", members)
	}
	for _, flag := range foundingFlags() {
		if name := flag.Names()[0]; c.String(name) != "" {
			note(c, "--%s has no effect: a member's name and address are cleatd's settings name and advertise", name)
		}
	}
	return nil
}
