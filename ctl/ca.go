// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func caCommand() *cli.Command {
	return &cli.Command{
		Name:  "ca",
		Usage: "the cluster's certificate authority",
		Description: `Example:
  cleatctl ca key export cluster-key.age`,
		Subcommands: []*cli.Command{caLockCommand(), caUnlockCommand(), caKeyCommand()},
	}
}

// authority calls this machine's member, with time enough for others to answer it.
func authority(c *cli.Context, least time.Duration, call func(context.Context, *session, admin.AdminClient) error) error {
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(c.Context, max(c.Duration("command-timeout"), least))
	defer cancel()
	return call(ctx, s, admin.NewAdminClient(s.ActiveConnection()))
}

// keyChange is what a command has done with the cluster key, as JSON.
type keyChange struct {
	Key     string   `json:"key,omitempty"`
	Old     string   `json:"old,omitempty"`
	File    string   `json:"file,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

func hexes(ids []uint64) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = fmt.Sprintf("%x", id)
	}
	return out
}
