// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki/export"
)

func caKeyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "the cluster key, which seals the CA's private keys",
		Description: `Every member has the key in its data directory, or as a credential of systemd's.
Whoever has it and a member's data, or a backup, can be the CA.

Example:
  cleatctl ca key export cluster-key.age`,
		Subcommands: []*cli.Command{caKeyExportCommand(), caKeyDecryptCommand(), caKeyRotateCommand()},
	}
}

func caKeyExportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write the cluster key to a file under a passphrase, for the day when all members are lost",
		ArgsUsage: "FILE",
		Description: `With it and a backup the CA goes on: cleatctl snapshot restore --cluster-key FILE.
Keep it apart from the backups. The file is age's (age -d reads it); the passphrase
is asked for twice. Export again after ca key rotate.

Examples:
  cleatctl ca key export cluster-key.age
  cleatctl ca key export /media/usb/cluster-key.age --passphrase-file pass.txt`,
		Flags:  []cli.Flag{passphraseFile("for FILE")},
		Action: caKeyExport,
	}
}

func caKeyExport(c *cli.Context) error {
	path := c.Args().First()
	if c.NArg() != 1 || path == "" {
		return misuse("ca key export takes one argument, the file to write, but was given %d", c.NArg())
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already, or cannot be looked at: choose another name", path)
	}
	passphrase, err := export.Passphrase(c.String("passphrase-file"), "Passphrase for "+path, true)
	if err != nil {
		return err
	}
	return authority(c, 30*time.Second, func(ctx context.Context, s *session, member admin.AdminClient) error {
		reply, err := member.ExportClusterKey(ctx, &admin.ExportClusterKeyRequest{})
		if err != nil {
			return fmt.Errorf("export the cluster key: %s", plainly(status.Convert(err).Message()))
		}
		defer clear(reply.Keys)
		if err := writeExport(path, reply.GetKeys(), passphrase); err != nil {
			return err
		}
		if _, err := member.ConfirmExport(ctx, &admin.ConfirmExportRequest{Id: reply.GetId()}); err != nil {
			return fmt.Errorf("%s is written and good, but the cluster has not noted that: %s", path, plainly(status.Convert(err).Message()))
		}
		return s.out.outcome(keyChange{Key: reply.GetId(), File: path},
			"Cluster key %s is in %s, under the passphrase: keep both apart from the backups", reply.GetId(), path)
	})
}

// writeExport writes a file that did not exist, whole or not at all, and only
// what can be read again.
func writeExport(path string, keys []byte, passphrase string) error {
	file, err := export.Encrypt(keys, passphrase)
	if err != nil {
		return err
	}
	if again, err := export.Decrypt(file, passphrase); err != nil || string(again) != string(keys) {
		return fmt.Errorf("what was written cannot be read again: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(file)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func caKeyDecryptCommand() *cli.Command {
	return &cli.Command{
		Name:      "decrypt",
		Usage:     "write an exported cluster key in plain to stdout, for a program that seals it otherwise",
		ArgsUsage: "FILE",
		Description: `Needs no member. Use it in a pipe; a file with what it writes is as good as the CA.

Example:
  cleatctl ca key decrypt cluster-key.age |
    systemd-creds encrypt --name=cluster.key - /etc/credstore.encrypted/cleatd.cluster.key`,
		Flags: []cli.Flag{passphraseFile("of FILE")},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return misuse("ca key decrypt takes one argument, the exported file, but was given %d", c.NArg())
			}
			keys, err := export.Read(c.Args().First(), c.String("passphrase-file"))
			if err != nil {
				return fmt.Errorf("read the cluster key: %w", err)
			}
			defer clear(keys)
			_, err = io.Copy(c.App.Writer, strings.NewReader(string(keys)))
			return err
		},
	}
}

func caKeyRotateCommand() *cli.Command {
	return &cli.Command{
		Name:      "rotate",
		Usage:     "put another key in the place of the cluster key",
		ArgsUsage: " ",
		Description: `The members get the new key from one another, and have it on their disks before the
CA is sealed with it; the old one is forgotten when all have the new one. A member
that is away gets it when it is back. Certificates stay as they are. If it is cut
off, give the command again. Afterwards export the key again, and renew the
credentials of members that have it from systemd.

Who had the old key may have opened the CA's keys with it: cleatctl ca rotate
replaces those.

Example:
  cleatctl ca key rotate`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "wait", Value: 10 * time.Second, Usage: "wait for all members for `TIME`; then most of them are enough"},
		},
		Action: caKeyRotate,
	}
}

func caKeyRotate(c *cli.Context) error {
	wait := c.Duration("wait")
	if c.NArg() > 0 {
		return misuse("ca key rotate takes no argument, but was given %q", c.Args().First())
	}
	if wait < time.Second || wait > time.Hour {
		return misuse("--wait %s is not between 1s and 1h", wait)
	}
	return authority(c, wait+30*time.Second, func(ctx context.Context, s *session, member admin.AdminClient) error {
		reply, err := member.RotateClusterKey(ctx, &admin.RotateClusterKeyRequest{PatienceSeconds: int64(wait / time.Second)})
		if err != nil {
			return fmt.Errorf("rotate the cluster key: %s", plainly(status.Convert(err).Message()))
		}
		done := keyChange{Key: reply.GetNew(), Old: reply.GetOld(), Missing: hexes(reply.GetMissing())}
		text := fmt.Sprintf("The CA is sealed with cluster key %s now; ", done.Key)
		if len(done.Missing) == 0 {
			text += "all members have it, and forget " + done.Old
		} else {
			text += fmt.Sprintf("the members forget %s when %s, away or locked, got the new one", done.Old, strings.Join(done.Missing, ", "))
		}
		return s.out.outcome(done, "%s. Export it: cleatctl ca key export FILE", text)
	})
}
