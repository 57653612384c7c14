// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/backup/file"
)

func snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "back up, look at a backup, begin anew with one",
		Description: `Example:
  cleatctl snapshot save backup.db`,
		Subcommands: []*cli.Command{
			{
				Name:      "save",
				Usage:     "write all that a member has to a file",
				ArgsUsage: "FILE",
				Description: `The file is what etcd's tools know as a snapshot: etcd starts from it, too. It
appears whole, readable by its owner only, or not at all. There is no time limit
unless --command-timeout is given.

Example:
  cleatctl snapshot save backup.db`,
				Action: snapshotSave,
			},
			{
				Name:      "status",
				Usage:     "check a snapshot and show what it has",
				ArgsUsage: "FILE",
				Description: `The simple form lists hash, revision, total keys, total size and version.

Example:
  cleatctl snapshot status backup.db -w table`,
				Action: snapshotStatus,
			},
			snapshotRestoreCommand(),
		},
	}
}

func snapshotSave(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse("snapshot save takes one argument, the file to write, but was given %d", c.NArg())
	}
	s, err := open(c, anyForm, chooseDoor)
	if err != nil {
		return err
	}
	defer s.Close()
	if n := len(s.Endpoints()); n != 1 {
		return misuse("a snapshot is one member's: name one of the %d endpoints", n)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT) // so that no half a file stays
	defer stop()
	if sourceOf(c, "command-timeout") != fromDefault {
		limited, cancel := context.WithTimeout(ctx, c.Duration("command-timeout"))
		defer cancel()
		ctx = limited
	}
	path := c.Args().First()
	got, err := saveTo(ctx, s.receiveSnapshot, path)
	if err != nil {
		return err
	}
	text := "Snapshot saved at " + path
	if got.Version != "" {
		text += "\nServer version " + got.Version
	}
	return s.out.line(got, "%s", text)
}

// saved is a snapshot that is on the disk.
type saved struct {
	File    string `json:"file"`
	Size    int64  `json:"size"`
	Version string `json:"version"`
}

// saveTo writes the file beside its place and renames it when all of it is
// there and its checksum is right.
func saveTo(ctx context.Context, receive func(context.Context, io.Writer) (version string, err error), path string) (got saved, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // another may write to the same place
	if err != nil {
		return got, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	sum := &trailing{hash: sha256.New()}
	version, err := receive(ctx, io.MultiWriter(f, sum))
	if err != nil {
		return got, errors.Join(err, f.Close())
	}
	if !sum.right() {
		return got, errors.Join(errors.New("receive the snapshot: what came is not what its checksum says: try again, or another member"), f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return got, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return got, err
	}
	return saved{path, sum.size, version}, syncDir(filepath.Dir(path))
}

// receiveSnapshot does what the client library does, which keeps to itself how
// much is still to come.
func (s *session) receiveSnapshot(ctx context.Context, to io.Writer) (version string, err error) {
	shown := startProgress(s.c, "saving", inBytes)
	defer shown.Close()
	pieces, err := pb.NewMaintenanceClient(s.ActiveConnection()).Snapshot(ctx, &pb.SnapshotRequest{}, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return "", fmt.Errorf("ask for a snapshot: %w", rpctypes.Error(err))
	}
	for received := int64(0); ; {
		piece, err := pieces.Recv()
		if errors.Is(err, io.EOF) && received > 0 {
			return version, nil
		}
		if err != nil {
			return "", fmt.Errorf("receive the snapshot: %w", rpctypes.Error(err))
		}
		version = piece.GetVersion()
		if _, err := to.Write(piece.GetBlob()); err != nil {
			return "", fmt.Errorf("write the snapshot: %w", err)
		}
		received += int64(len(piece.GetBlob()))
		shown.set(received, received+int64(piece.GetRemainingBytes()))
	}
}

// syncDir makes a new name in a directory durable. Windows opens no directory
// for that, and needs none.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// trailing hashes all but the last bytes, which are the hash.
type trailing struct {
	hash hash.Hash
	last []byte
	size int64
}

func (t *trailing) Write(b []byte) (int, error) {
	t.size += int64(len(b))
	t.last = append(t.last, b...)
	if rest := len(t.last) - sha256.Size; rest > 0 {
		t.hash.Write(t.last[:rest])
		t.last = append(t.last[:0], t.last[rest:]...)
	}
	return len(b), nil
}

func (t *trailing) right() bool {
	return file.HasHash(t.size) && string(t.hash.Sum(nil)) == string(t.last)
}

func snapshotStatus(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse("snapshot status takes one argument, the snapshot's file, but was given %d", c.NArg())
	}
	out, err := newPrinter(c, endpointForms)
	if err != nil {
		return err
	}
	path := c.Args().First()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	snapshot, err := file.Open(path, !file.HasHash(info.Size())) // a copy of etcd's own database has none
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }() // it was only read
	status, err := snapshot.Status()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	row := []string{
		fmt.Sprintf("%x", status.Hash), fmt.Sprint(status.Revision), fmt.Sprint(status.TotalKey),
		humanize.Bytes(uint64(status.TotalSize)), status.Version,
	}
	return out.print(answer{
		json: status,
		simple: func(p *printer) {
			p.linef("%s, %s, %s, %s, %s", row[0], row[1], row[2], row[3], row[4])
		},
		fields: func(p *printer) {
			p.linef(`"Hash" : %d`, status.Hash)
			p.linef(`"Revision" : %d`, status.Revision)
			p.linef(`"Keys" : %d`, status.TotalKey)
			p.linef(`"Size" : %d`, status.TotalSize)
			p.linef(`"Version" : %s`, status.Version)
		},
		table: func() table {
			return table{{"hash", "revision", "total keys", "total size", "version"}, row}
		},
	})
}
