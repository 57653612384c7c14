// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// ErrNoHash: the file has no checksum at its end.
var ErrNoHash = errors.New("snapshot without a checksum")

// HasHash says whether a file of size bytes ends with a checksum: pages are
// multiples of 512 bytes.
func HasHash(size int64) bool { return size%512 == sha256.Size }

// Snapshot is an open file.
type Snapshot struct {
	*Reader
	file *os.File
}

// counted counts what is read of a file.
type counted struct {
	*os.File
	read *atomic.Int64
}

func (c counted) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.File.ReadAt(b, at)
	c.read.Add(int64(n))
	return n, err
}

// Open opens a file whose checksum is right, or only its pages if that is to be
// skipped, as it must be for a copy of the database in etcd's directory, which
// has none. The error is ErrForeign, ErrDamaged or ErrNoHash, or the disk's.
func Open(path string, skipHash bool) (*Snapshot, error) {
	return OpenCounted(path, skipHash, new(atomic.Int64))
}

// OpenCounted is Open, and adds to read each byte that is read, now and later.
func OpenCounted(path string, skipHash bool, read *atomic.Int64) (_ *Snapshot, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // else a pipe waits for whom nobody knows
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	pages := info.Size()
	if HasHash(pages) {
		pages -= sha256.Size
	}
	from := counted{f, read}
	r, err := NewReader(from, pages)
	if errors.Is(err, ErrForeign) {
		return nil, err // it says more than a checksum
	}
	if !skipHash {
		if failed := checkHash(from, info.Size()); failed != nil {
			return nil, failed
		}
	}
	if err != nil {
		return nil, err
	}
	return &Snapshot{r, f}, nil
}

func checkHash(f io.ReaderAt, size int64) error {
	if !HasHash(size) {
		return fmt.Errorf("%w: it is cut, or a copy of the database of etcd's own directory", ErrNoHash)
	}
	pages := size - sha256.Size
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, pages)); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, pages); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if have := h.Sum(nil); !bytes.Equal(have, want) {
		return fmt.Errorf("%w: its SHA-256 is %x, not %x as it says", ErrDamaged, have, want)
	}
	return nil
}

// Close closes the file.
func (s *Snapshot) Close() error { return s.file.Close() }
