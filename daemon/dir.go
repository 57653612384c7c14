// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The data directory:
//
//	LOCK         held (flock) while a process uses the directory
//	member.json  format, cluster id, member id, raft log: written once
//	state/       keys, leases, ledger (Pebble)
//	raft/        log, term and vote, labels
//	pki/         this member's key and certificate, the cluster key (0700)
//	joining/     what it will be, while it joins a cluster (joining.go)
const dirFormat = 1

// dataDir is a data directory that this process holds.
type dataDir struct {
	path   string
	lock   *os.File
	member memberFile
	fresh  bool // made by this start
}

// memberFile says whose directory this is. Ids are hexadecimal, as everywhere
// that people see them.
type memberFile struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster_id"`
	Member  string `json:"member_id"`
	RaftLog string `json:"raft_log"`

	Joined    *joined `json:"joined,omitempty"`    // missing: it made its cluster
	Advertise string  `json:"advertise,omitempty"` // the host that it joined with, if the settings name none
}

func (d *dataDir) clusterID() uint64 { return mustHex(d.member.Cluster) }
func (d *dataDir) memberID() uint64  { return mustHex(d.member.Member) }

// mustHex reads an id that openDataDir has checked.
func mustHex(s string) uint64 {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		panic(fmt.Sprintf("daemon: unchecked id %q", s))
	}
	return v
}

// openDataDir takes the directory for this process, and makes it when it is
// empty. What does not fit is refused by name: errors wrap ErrConfig.
func openDataDir(path, raftLog string) (*dataDir, error) {
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("%w: data-dir: %v", ErrConfig, err)
	}
	lock, err := lockFile(filepath.Join(path, "LOCK"))
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.take(raftLog); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// take finishes a join that was on its way and reads whose directory it is.
func (d *dataDir) take(raftLog string) error {
	if err := d.adopt(); err != nil {
		return fmt.Errorf("become the member that joined: %w", err)
	}
	d.member = memberFile{}
	return d.load(raftLog)
}

// makeDir makes a directory and those above it, if they are missing, and makes
// it last that they exist.
func makeDir(path string) error {
	var grown []string
	for at := path; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		grown = append(grown, filepath.Dir(at))
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, parent := range grown {
		if err := syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: data-dir: %v", ErrConfig, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path) // only to name the holder; it may be gone
		_ = f.Close()
		return nil, fmt.Errorf("%w: data directory %s is in use by another process (pid %s): stop it, or choose another data-dir",
			ErrConfig, filepath.Dir(path), strings.TrimSpace(string(pid)))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // a hint for the message above
	}
	return f, nil
}

func (d *dataDir) load(raftLog string) error {
	path := filepath.Join(d.path, "member.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d.create(raftLog)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrConfig, err)
	}
	whole := json.NewDecoder(bytes.NewReader(raw))
	whole.DisallowUnknownFields() // a newer format may have more: it is refused anyway
	if err := whole.Decode(&d.member); err != nil && d.member.Format <= dirFormat {
		return fmt.Errorf("%w: %s is damaged: %v", ErrConfig, path, err)
	}
	m := d.member
	if m.Format > dirFormat {
		return fmt.Errorf("%w: data directory %s has format %d, this cleatd knows %d: install a newer cleatd",
			ErrConfig, d.path, m.Format, dirFormat)
	}
	for _, id := range []string{m.Cluster, m.Member} {
		if v, err := strconv.ParseUint(id, 16, 64); err != nil || v == 0 {
			return fmt.Errorf("%w: %s is damaged: %q is no id", ErrConfig, path, id)
		}
	}
	if m.Format < 1 || m.RaftLog != "wal" && m.RaftLog != "boltdb" {
		return fmt.Errorf("%w: %s is damaged: format %d, raft log %q", ErrConfig, path, m.Format, m.RaftLog)
	}
	return d.fits(raftLog)
}

// fits refuses a setting that is not the directory's.
func (d *dataDir) fits(raftLog string) error {
	if d.member.RaftLog != raftLog {
		return fmt.Errorf("%w: raft-log: data directory %s was made with raft-log = %q, the setting is %q: change the setting back",
			ErrConfig, d.path, d.member.RaftLog, raftLog)
	}
	return nil
}

// create makes the directory this member's. A directory that holds a state or
// a log but no member.json is not empty, and is left alone.
func (d *dataDir) create(raftLog string) error {
	if d.unfinishedRestore() {
		return fmt.Errorf("%w: data directory %s: cleatd restore was cut short: give the same command again, or empty the directory",
			ErrConfig, d.path)
	}
	for _, part := range []string{"state", "raft", "pki"} {
		if _, err := os.Stat(filepath.Join(d.path, part)); err == nil {
			return fmt.Errorf("%w: data directory %s holds %s/ but no member.json: restore the file, or choose an empty data-dir",
				ErrConfig, d.path, part)
		}
	}
	d.fresh = true
	d.member = memberFile{Format: dirFormat, Cluster: hexID(newID()), Member: hexID(newID()), RaftLog: raftLog}
	return d.writeMember()
}

// writeMember makes it durable whose directory this is.
func (d *dataDir) writeMember() error {
	raw, err := json.MarshalIndent(d.member, "", "\t")
	if err != nil {
		return err
	}
	return writeFileDurably(filepath.Join(d.path, "member.json"), append(raw, '\n'))
}

// writeFileDurably makes a file appear whole or not at all, also after a power
// loss.
func writeFileDurably(path string, data []byte) error {
	tmp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if _, err := tmp.Write(data); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncNames makes it last that the log's files, and the log, exist.
func (d *dataDir) syncNames() error {
	return errors.Join(syncDir(filepath.Join(d.path, "raft")), syncDir(d.path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// newID draws an id that is not zero and fits a signed number, as etcd's
// tools print ids both ways.
func newID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program instead
		if id := binary.BigEndian.Uint64(b[:]) >> 1; id != 0 {
			return id
		}
	}
}

func hexID(id uint64) string { return fmt.Sprintf("%016x", id) }

// Close gives the directory back.
func (d *dataDir) Close() error { return d.lock.Close() }
