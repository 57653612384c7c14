// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// A checkpoint is all of a store at one moment, for another store to become
// the same. It is Pebble's keys and values in order, not its files, so that
// neither side needs the other's version of Pebble, and nothing is copied on
// this disk.
//
//	magic, version
//	block…       length, CRC-32C of what follows, then pairs: key and value with their lengths
//	0, CRC-32C, number of pairs
//
// Numbers of fixed size are big-endian, lengths within a block are varints.
const (
	checkpointMagic   = "cleat state"
	checkpointVersion = 1

	// checkpointBlock is when a block is closed; a pair that is larger has one
	// of its own.
	checkpointBlock = 256 << 10
	// maxCheckpointBlock bounds what a reader takes for a block: the largest
	// value, with room.
	maxCheckpointBlock = 64 << 20
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// Checkpoint is one moment of a store. It keeps the files of that moment on the
// disk until it is closed.
type Checkpoint struct {
	it      *pebble.Iterator
	store   *Store
	applied uint64
}

// Checkpoint takes the store as it is after the newest commit.
func (s *Store) Checkpoint() (*Checkpoint, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, s.broken(err)
	}
	c := &Checkpoint{it: it, store: s}
	if key := metaKey(metaApplied); it.SeekGE(key) && string(it.Key()) == string(key) {
		v, err := it.ValueAndErr()
		if err == nil {
			c.applied, err = decodeNumber(v)
		}
		if err != nil {
			return nil, errors.Join(s.broken(err), it.Close())
		}
	}
	return c, nil
}

// Index returns the log index of the newest commit that the checkpoint has.
func (c *Checkpoint) Index() uint64 { return c.applied }

// Close lets go of the files.
func (c *Checkpoint) Close() error { return c.it.Close() }

// WriteTo writes the checkpoint, with memory for one block. It may be called
// again from one goroutine at a time.
func (c *Checkpoint) WriteTo(to io.Writer) (int64, error) {
	w := &blockWriter{to: bufio.NewWriterSize(to, 64<<10)}
	w.write(append([]byte(checkpointMagic), checkpointVersion))
	pairs := uint64(0)
	for ok := c.it.First(); ok && w.err == nil; ok = c.it.Next() {
		v, err := c.it.ValueAndErr()
		if err != nil {
			return w.written, c.store.broken(err)
		}
		w.add(c.it.Key(), v)
		pairs++
	}
	if err := c.it.Error(); err != nil {
		return w.written, c.store.broken(err)
	}
	w.flush()
	w.block = binary.BigEndian.AppendUint64(w.block, pairs)
	w.write(binary.BigEndian.AppendUint32(make([]byte, 4), crc32.Checksum(w.block, crcTable)))
	w.write(w.block)
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return w.written, w.err
}

// blockWriter keeps its first error.
type blockWriter struct {
	to      *bufio.Writer
	block   []byte
	written int64
	err     error
}

func (w *blockWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	var n int
	n, w.err = w.to.Write(b)
	w.written += int64(n)
}

func (w *blockWriter) add(key, value []byte) {
	if len(w.block) > 0 && len(w.block)+len(key)+len(value) > checkpointBlock {
		w.flush()
	}
	w.block = binary.AppendUvarint(w.block, uint64(len(key)))
	w.block = append(w.block, key...)
	w.block = binary.AppendUvarint(w.block, uint64(len(value)))
	w.block = append(w.block, value...)
}

func (w *blockWriter) flush() {
	if len(w.block) == 0 {
		return
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(w.block)))
	w.write(binary.BigEndian.AppendUint32(head, crc32.Checksum(w.block, crcTable)))
	w.write(w.block)
	w.block = w.block[:0]
}

// ErrCheckpoint means that a checkpoint is cut or damaged.
var ErrCheckpoint = errors.New("kv: damaged checkpoint")

// readCheckpoint calls fn with each pair. The slices are valid during the call
// only. The error is ErrFormat for a newer version.
func readCheckpoint(from io.Reader, fn func(key, value []byte) error) error {
	r := bufio.NewReaderSize(from, 64<<10)
	head := make([]byte, len(checkpointMagic)+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("%w: cut in its first bytes: %w", ErrCheckpoint, err)
	}
	if string(head[:len(checkpointMagic)]) != checkpointMagic {
		return fmt.Errorf("%w: it does not begin like one", ErrCheckpoint)
	}
	if v := head[len(checkpointMagic)]; v != checkpointVersion {
		return fmt.Errorf("%w %d of a checkpoint, this program knows %d", ErrFormat, v, checkpointVersion)
	}
	var block []byte
	pairs := uint64(0)
	for {
		var fixed [8]byte
		if _, err := io.ReadFull(r, fixed[:]); err != nil {
			return fmt.Errorf("%w: cut after %d pairs: %w", ErrCheckpoint, pairs, err)
		}
		size, sum := binary.BigEndian.Uint32(fixed[:]), binary.BigEndian.Uint32(fixed[4:])
		last := size == 0
		if last {
			size = 8
		}
		if size > maxCheckpointBlock {
			return fmt.Errorf("%w: a block of %d bytes after %d pairs", ErrCheckpoint, size, pairs)
		}
		block = append(block[:0], make([]byte, size)...)
		if _, err := io.ReadFull(r, block); err != nil {
			return fmt.Errorf("%w: cut after %d pairs: %w", ErrCheckpoint, pairs, err)
		}
		if crc32.Checksum(block, crcTable) != sum {
			return fmt.Errorf("%w: wrong checksum after %d pairs", ErrCheckpoint, pairs)
		}
		if last {
			if n := binary.BigEndian.Uint64(block); n != pairs {
				return fmt.Errorf("%w: %d pairs, %d expected", ErrCheckpoint, pairs, n)
			}
			return nil
		}
		for rest := block; len(rest) > 0; pairs++ {
			key, after, ok := cutPart(rest)
			value, after, also := cutPart(after)
			if !ok || !also {
				return fmt.Errorf("%w: malformed pair %d", ErrCheckpoint, pairs)
			}
			if err := fn(key, value); err != nil {
				return err
			}
			rest = after
		}
	}
}

func cutPart(b []byte) (part, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}
