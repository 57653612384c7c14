// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki/export"
)

func caLockCommand() *cli.Command {
	return &cli.Command{
		Name:      "lock",
		Usage:     "have this machine's member forget the cluster key, so that it issues nothing",
		ArgsUsage: " ",
		Description: `The member goes on serving data and knows whose certificates are good; it issues
and renews none, its own included, and lets no machine in, until ca unlock, also
after a restart. --remove-file removes the key from the data directory as well,
if it was exported or another member has it.

Examples:
  cleatctl ca lock
  cleatctl ca lock --remove-file --yes`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "remove-file", DisableDefaultText: true, Usage: "remove cluster.key from the data directory, after asking"},
			&cli.BoolFlag{Name: "yes", DisableDefaultText: true, Usage: "do not ask"},
		},
		Action: caLock,
	}
}

func caLock(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("ca lock takes no argument, but was given %q", c.Args().First())
	}
	remove := c.Bool("remove-file")
	if remove && !c.Bool("yes") {
		if err := agree(c, "Remove the cluster key from this machine? It comes back only from an export or another member's file"); err != nil {
			return err
		}
	}
	return authority(c, 0, func(ctx context.Context, s *session, member admin.AdminClient) error {
		if _, err := member.LockCA(ctx, &admin.LockCARequest{RemoveFile: remove}); err != nil {
			return fmt.Errorf("lock the CA: %s", plainly(status.Convert(err).Message()))
		}
		if remove {
			return s.out.outcome(keyChange{}, "The CA is locked at this member and its key removed: it issues nothing until cleatctl ca unlock FILE")
		}
		return s.out.outcome(keyChange{}, "The CA is locked at this member: it issues nothing until cleatctl ca unlock")
	})
}

// agree asks at the terminal; who cannot be asked has not agreed.
func agree(c *cli.Context, question string) error {
	input, ok := c.App.Reader.(*os.File)
	if !ok || !term.IsTerminal(int(input.Fd())) {
		return misuse("%s asks first at a terminal, and this is none: give --yes", called(c))
	}
	_, _ = fmt.Fprintf(c.App.ErrWriter, "%s. Type yes: ", question)
	line, err := bufio.NewReader(input).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was done: the answer was not yes")
	}
	return nil
}

func caUnlockCommand() *cli.Command {
	return &cli.Command{
		Name:      "unlock",
		Usage:     "have this machine's member issue certificates again",
		ArgsUsage: "[FILE]",
		Description: `Without FILE the member takes the key from its data directory, or from systemd.
FILE is what ca key export has written, for which the passphrase is asked, or
another member's cluster.key; the member keeps the key in its data directory.

Examples:
  cleatctl ca unlock
  cleatctl ca unlock cluster-key.age`,
		Flags:  []cli.Flag{passphraseFile("of FILE")},
		Action: caUnlock,
	}
}

func caUnlock(c *cli.Context) error {
	if c.NArg() > 1 {
		return misuse("ca unlock takes at most one argument, the file with the key, but was given %d", c.NArg())
	}
	var keys []byte
	if file := c.Args().First(); file != "" {
		var err error
		if keys, err = export.Read(file, c.String("passphrase-file")); err != nil {
			return fmt.Errorf("read the cluster key: %w", err)
		}
		defer clear(keys)
	}
	return authority(c, 10*time.Second, func(ctx context.Context, s *session, member admin.AdminClient) error {
		reply, err := member.UnlockCA(ctx, &admin.UnlockCARequest{Keys: keys})
		if err != nil {
			return fmt.Errorf("unlock the CA: %s", plainly(status.Convert(err).Message()))
		}
		return s.out.outcome(keyChange{Key: reply.GetId()}, "The CA is unlocked at this member, with cluster key %s", reply.GetId())
	})
}

func passphraseFile(whose string) cli.Flag {
	return &cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase " + whose + " from the first line of `FILE` instead of asking"}
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
