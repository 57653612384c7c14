// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cleatd/cleat/backup"
	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// Restoring says what is restored, and how.
type Restoring struct {
	File     string        // an etcd snapshot, or cleat's own
	SkipHash bool          // it need not have a checksum, as a copy of etcd's database has none
	Read     *atomic.Int64 // counts what was read of the file, which is gone through Passes times; nil: nobody wants to know
	Bump     int64         // begin so many revisions behind it, with all before compacted; zero: where it ends

	// ClusterKey is the text of the cluster.key that opens the CA in the file, which
	// then goes on. Nil: the new cluster makes itself another CA.
	ClusterKey []byte
}

// Passes is how often a restore goes through its file: the checksum, what is in
// it, and what is taken of it. The CA's part of it is small.
func (r Restoring) Passes() int64 {
	if r.SkipHash {
		return 2
	}
	return 3
}

// Restored is what a restore made.
type Restored struct {
	Cluster, Member uint64 // both new
	Revision        int64  // with which it begins
	Changes, Leases int    // that it has, as the next
	Users, Roles    int

	CA      bool     // that of the file goes on
	Holders []string // of certificates that are good now: they stay so if the CA goes on, and else must be issued anew
}

// Restore makes an empty data directory that of a new cluster with one member,
// which begins with the keys, leases, users and roles of a snapshot. All of the file is
// checked before anything is written. When it ends early, the directory is
// good for nothing but the same command once more. Errors that the
// administrator can mend wrap ErrConfig.
func Restore(o Options, r Restoring) (done Restored, err error) {
	if r.Read == nil {
		r.Read = new(atomic.Int64)
	}
	snapshot, err := file.OpenCounted(r.File, r.SkipHash, r.Read)
	if err != nil {
		return done, refused(err)
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	found, err := backup.Check(snapshot.Reader, r.Bump)
	if err != nil {
		return done, refused(fmt.Errorf("%s: %w", r.File, err))
	}
	trust, err := checkCA(snapshot.Reader, r)
	if err != nil {
		return done, refused(fmt.Errorf("%s: %w", r.File, err))
	}
	d := newDaemon(o)
	if err := d.takeEmptyDir(); err != nil {
		return done, d.withAgain(err)
	}
	defer func() { err = errors.Join(err, d.dir.Close()) }()
	revision := int64(0)
	err = d.unlessFatal(func() (err error) {
		if revision, err = d.restore(snapshot.Reader, found, r); err != nil {
			return err
		}
		return d.dir.endRestore()
	})
	if err != nil {
		return done, d.withAgain(err)
	}
	return Restored{
		Cluster: d.dir.clusterID(), Member: d.dir.memberID(), Revision: revision,
		Changes: found.Changes, Leases: len(found.Leases), Users: len(found.Auth.Users), Roles: len(found.Auth.Roles),
		CA: r.ClusterKey != nil, Holders: trust.Holders(),
	}, nil
}

// refused marks what stands against a file.
func refused(err error) error {
	for _, known := range []struct {
		err error
		try string
	}{
		{file.ErrNoHash, "; if it is such a copy, give --skip-hash-check"},
		{file.ErrForeign, "; give a file that cleatctl or etcdctl snapshot save has written, unpacked"},
		{file.ErrDamaged, "; fetch it once more, or give an older one"},
		{backup.ErrNewer, "; install a newer cleatd"},
		{backup.ErrBump, "; give a smaller --bump-revision"},
		{pki.ErrNoCA, ": it is etcd's, or of a cleat before backups had it; without --cluster-key the new cluster makes itself another"},
		{pki.ErrClusterKey, "; give --cluster-key the key with which it was sealed when the backup was made"},
		{pki.ErrSealed, "; fetch it once more, or give an older one"},
		{pki.ErrFormat, "; install a newer cleatd"},
		{os.ErrNotExist, ""},
		{os.ErrPermission, ""},
	} {
		if errors.Is(err, known.err) {
			return fmt.Errorf("%w: %w%s", ErrConfig, err, known.try)
		}
	}
	return err
}

// restore fills the state, and gives it the log's first entry: the state is
// another cluster's from then on, and whoever joins begins with a checkpoint,
// since the log has nothing of what came before.
func (d *Daemon) restore(snapshot *file.Reader, found backup.Found, r Restoring) (revision int64, err error) {
	d.registry = prometheus.NewRegistry() // nobody reads it
	if err := d.openState(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()
	if revision, err = backup.Restore(snapshot, found, d.store, d.machine, r.Bump); err != nil {
		return 0, err
	}
	if r.ClusterKey != nil {
		if err := d.restoreCA(snapshot, r.ClusterKey); err != nil {
			return 0, err
		}
	}
	_, err = raft.Recover(raft.Config{
		Dir: filepath.Join(d.dir.path, "raft"), Member: d.dir.memberID(), Log: d.config().RaftLog, Logger: d.log,
	}, machine{d.machine}, state.FormCommand(d.dir.clusterID()))
	if err != nil {
		return 0, err
	}
	return revision, d.dir.syncNames()
}

// restoringFile is there from before a restore writes anything until
// member.json is.
const restoringFile = "restoring"

// takeEmptyDir takes a directory that holds nothing, or what a restore left
// that did not get to its end.
func (d *Daemon) takeEmptyDir() error {
	path := d.config().DataDir
	if err := makeDir(path); err != nil {
		return fmt.Errorf("%w: data-dir: %v", ErrConfig, err)
	}
	lock, err := lockFile(filepath.Join(path, "LOCK"))
	if err != nil {
		return err
	}
	d.dir = &dataDir{path: path, lock: lock, fresh: true}
	d.dir.member = memberFile{Format: dirFormat, Cluster: hexID(newID()), Member: hexID(newID()), RaftLog: d.config().RaftLog}
	if err := d.dir.beginRestore(); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

func (d *dataDir) beginRestore() error {
	if d.unfinishedRestore() {
		for _, part := range []string{"state", "raft", "pki"} {
			if err := os.RemoveAll(filepath.Join(d.path, part)); err != nil {
				return err
			}
		}
		return nil
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch name := e.Name(); name {
		case "LOCK", "lost+found", restoringFile + ".new": // the last of a restore that ended as it began
		default:
			return fmt.Errorf("%w: data-dir: %s is not empty, it has %s: a restore makes a new cluster and needs an empty directory",
				ErrConfig, d.path, name)
		}
	}
	return writeFileDurably(filepath.Join(d.path, restoringFile), nil)
}

// unfinishedRestore says that what the directory holds is half a restore.
func (d *dataDir) unfinishedRestore() bool {
	_, begun := os.Stat(filepath.Join(d.path, restoringFile))
	_, ended := os.Stat(filepath.Join(d.path, "member.json"))
	return begun == nil && errors.Is(ended, os.ErrNotExist)
}

// endRestore makes the directory a member's.
func (d *dataDir) endRestore() error {
	if err := d.writeMember(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.path, restoringFile)); err != nil {
		return err
	}
	return syncDir(d.path)
}
