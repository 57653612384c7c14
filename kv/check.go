// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkFiles looks for what Pebble would silently take for a younger or an
// empty database.
//
// Pebble reads its manifest, the list of what the tables are, up to the first
// record that does not match its checksum, since a crash may have torn the last
// one. Damage further up looks the same to it: it would go on with the tables
// of long ago. And without the marker that names the manifest it would begin
// anew, on top of tables that are there.
func checkFiles(disk vfs.FS, dir string) error {
	desc, err := pebble.Peek(dir, disk)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new store
	}
	if err != nil {
		return fmt.Errorf("the markers in it: %w", err)
	}
	if !desc.Exists {
		return refuseOrphans(disk, dir)
	}
	raw, err := readFile(disk, desc.ManifestFilename)
	if err != nil {
		return err
	}
	if at, damaged := damagedAt(raw); damaged {
		return fmt.Errorf("%s is damaged at byte %d", desc.ManifestFilename, at)
	}
	return nil
}

func refuseOrphans(disk vfs.FS, dir string) error {
	names, err := disk.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if path.Ext(name) == ".sst" {
			return fmt.Errorf("it holds %s, but no file marker.manifest.* says which MANIFEST is in force", name)
		}
	}
	return nil
}

func readFile(disk vfs.FS, name string) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(f)
	return raw, errors.Join(err, f.Close())
}

// damagedAt says whether a record follows one that cannot be read. Each record
// is synced before the next is written, so a crash tears none but the last.
func damagedAt(manifest []byte) (at int64, damaged bool) {
	r := record.NewReader(bytes.NewReader(manifest), 0)
	for {
		at = r.Offset()
		one, err := r.Next()
		if errors.Is(err, io.EOF) {
			return at, false
		}
		if err == nil {
			_, err = io.Copy(io.Discard, one)
		}
		if err != nil {
			return at, recordAfter(manifest, int(at)+1)
		}
	}
}

// Records are made of chunks: checksum, length, type, data.
const (
	chunkHeader = 4 + 2 + 1
	chunkFull   = 1 // types that begin a record
	chunkFirst  = 2
)

// recordAfter looks for the beginning of a record, from an offset on.
func recordAfter(manifest []byte, from int) bool {
	for ; from+chunkHeader <= len(manifest); from++ {
		rest := manifest[from:]
		end := chunkHeader + int(binary.LittleEndian.Uint16(rest[4:]))
		if kind := rest[6]; kind != chunkFull && kind != chunkFirst || end > len(rest) {
			continue
		}
		sum := crc32.Checksum(rest[6:end], castagnoli)
		if binary.LittleEndian.Uint32(rest) == (sum>>15|sum<<17)+0xa282ead8 { // as LevelDB masks it
			return true
		}
	}
	return false
}

// damage is an error whose text says what is damaged.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

func (damage) Is(target error) bool { return target == ErrDamaged }

// damaged makes what reading the files has found an ErrDamaged, unless the disk
// is behind it.
func damaged(err error) error {
	var errno syscall.Errno
	if err == nil || errors.As(err, &errno) && errno != syscall.ENOENT {
		return err
	}
	return damage{err}
}
