// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A machine that joins a cluster gathers what it will be beside what it is:
//
//	joining/member.json   whose directory it will be
//	joining/pki.joining/  the key, while the cluster is asked
//	joining/pki/          the identity that the cluster gave; by one rename
//
// From that rename on the directory is the new member's: adopt makes it so at
// once, or at the next start, as often as it takes.
const joiningDir = "joining"

// joined is how a member came into its cluster.
type joined struct {
	Address string `json:"address"` // of the member that let it in
	Learner bool   `json:"learner,omitempty"`
}

func (d *dataDir) joining(name string) string { return filepath.Join(d.path, joiningDir, name) }

// announceAs writes down whose directory this will be once joining/pki is there.
func (d *dataDir) announceAs(m memberFile) error {
	raw, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return writeFileDurably(d.joining("member.json"), append(raw, '\n'))
}

// adopted says whether a join is durable and was not carried out yet.
func (d *dataDir) adopted() bool {
	for _, name := range []string{"member.json", "pki"} {
		if _, err := os.Stat(d.joining(name)); err != nil {
			return false
		}
	}
	return true
}

// adopt makes the directory that of the member which has joined. What the
// directory held is gone, as whoever asked to join has agreed to. It may stop
// anywhere: what is missing is done by the next call.
func (d *dataDir) adopt() error {
	if !d.adopted() {
		return d.tidy()
	}
	// joining/pki stays until member.json is in its place: without both,
	// nobody would know that there was a join.
	for _, name := range []string{"state", "raft", "pki"} {
		if err := os.RemoveAll(filepath.Join(d.path, name)); err != nil {
			return err
		}
	}
	if err := copyDirDurably(d.joining("pki"), filepath.Join(d.path, "pki")); err != nil {
		return err
	}
	if err := os.Rename(d.joining("member.json"), filepath.Join(d.path, "member.json")); err != nil {
		return err
	}
	if err := errors.Join(syncDir(d.path), os.RemoveAll(d.joining(""))); err != nil {
		return err
	}
	return syncDir(d.path)
}

// tidy removes what a join left that was carried out but for this. The key of
// one that broke off earlier stays: the cluster knows the machine by it.
func (d *dataDir) tidy() error {
	if _, err := os.Stat(d.joining("pki")); err != nil {
		return nil
	}
	return os.RemoveAll(d.joining(""))
}

// copyDirDurably copies the plain files of a directory.
func copyDirDurably(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return err
		}
		if err := writeFileDurably(filepath.Join(to, f.Name()), data); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(to))
}

// untouched says that the directory has not been a member's yet.
func (d *dataDir) untouched() bool {
	for _, part := range []string{"state", "raft", "pki"} {
		if _, err := os.Stat(filepath.Join(d.path, part)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return d.member.Joined == nil
}
