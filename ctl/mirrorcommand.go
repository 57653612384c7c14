// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

func makeMirrorCommand() *cli.Command {
	return &cli.Command{
		Name:      "make-mirror",
		Usage:     "copy keys to another cluster and keep the copy up to date",
		ArgsUsage: "DESTINATION",
		Description: `Runs until it is stopped, and prints twice a minute how many keys it has put and
deleted. Leases are not mirrored, and keys that only the destination has stay. One
who watches the copy sees each revision's changes together.

Examples:
  cleatctl make-mirror 10.1.0.1:2379 --dest-cacert=ca.crt --dest-cert=a.crt --dest-key=a.key
  cleatctl make-mirror unix:///run/other.sock --prefix=/app/ --dest-prefix=/copy/`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "prefix", Usage: "mirror the keys that begin with `PREFIX`"},
			&cli.StringFlag{Name: "dest-prefix", DefaultText: "as at the source", Usage: "`PREFIX` of the copies, in place of --prefix"},
			&cli.BoolFlag{Name: "no-dest-prefix", Usage: "leave --prefix out of the copies' names"},
			&cli.Int64Flag{Name: "rev", DefaultText: "a full copy first", Usage: "only changes from the source's revision `REV` on"},
			&cli.UintFlag{Name: "max-txn-ops", Value: 128, Usage: "at most `N` changes a transaction"},
			&cli.StringFlag{Name: "dest-cacert", Usage: "check the destination's certificate against this CA bundle `FILE`"},
			&cli.StringFlag{Name: "dest-cert", Usage: "show the destination this certificate `FILE`"},
			&cli.StringFlag{Name: "dest-key", Usage: "the certificate's key `FILE`"},
			&cli.BoolFlag{Name: "dest-insecure-transport", Value: true, Usage: "=false: TLS to the destination also without files"},
			&cli.StringFlag{Name: "dest-user", Usage: "act there as this user, a `NAME` or NAME:PASSWORD"},
			&cli.StringFlag{Name: "dest-password", Usage: "the user's `WORD` there"},
		},
		Action: makeMirror,
	}
}

// mirrorDoor is the way to the destination. Who one is at the source counts for
// nothing there.
func mirrorDoor(c *cli.Context) (door, error) {
	files := client.Config{CACert: c.String("dest-cacert"), Cert: c.String("dest-cert"), Key: c.String("dest-key")}
	if (files.Cert == "") != (files.Key == "") {
		return door{}, misuse("--dest-cert and --dest-key go together: give both files")
	}
	if c.String("dest-user") == "" && c.String("dest-password") != "" {
		return door{}, misuse("--dest-password needs --dest-user NAME")
	}
	who, err := namedLogin(c, "dest-user", "dest-password")
	if err != nil {
		return door{}, err
	}
	way := doorTo([]string{c.Args().First()}, files, trust{always: !c.Bool("dest-insecure-transport")})
	way.who = &who
	return way, nil
}
