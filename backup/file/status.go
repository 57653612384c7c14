// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Status is what etcdutl tells of a snapshot.
type Status struct {
	Hash      uint32 `json:"hash"` // of all keys and values
	Revision  int64  `json:"revision"`
	TotalKey  int    `json:"totalKey"`
	TotalSize int64  `json:"totalSize"`
	Version   string `json:"version"` // of etcd's storage, empty before 3.6
}

// Status reads all of the file; the error is ErrDamaged or ErrForeign.
func (r *Reader) Status() (Status, error) {
	s := Status{TotalSize: r.Size()}
	table := crc32.MakeTable(crc32.Castagnoli)
	live := map[string]struct{}{}
	if !slices.Contains(r.Buckets(), Key) {
		return s, fmt.Errorf("%w: it has no bucket %q", ErrForeign, Key)
	}
	for _, name := range r.Buckets() {
		s.Hash = crc32.Update(s.Hash, table, []byte(name))
		err := r.Walk(name, func(key, value []byte) error {
			s.Hash = crc32.Update(crc32.Update(s.Hash, table, key), table, value)
			switch {
			case name == Meta && string(key) == StorageVersion:
				s.Version = string(value)
			case name == Key:
				return s.count(live, key, value)
			}
			return nil
		})
		if err != nil {
			return s, err
		}
	}
	s.TotalKey = len(live)
	return s, nil
}

func (s *Status) count(live map[string]struct{}, revision, record []byte) error {
	main, _, deleted, err := ParseRevision(revision)
	if err != nil {
		return err
	}
	s.Revision = main
	key, err := recordKey(record)
	if err != nil {
		return fmt.Errorf("%w: revision %d: %w", ErrDamaged, main, err)
	}
	if deleted {
		delete(live, string(key))
		return nil
	}
	live[string(key)] = struct{}{}
	return nil
}

// recordKey reads the first field of a mvccpb.KeyValue; it shares its memory.
func recordKey(record []byte) ([]byte, error) {
	if len(record) == 0 {
		return nil, nil
	}
	field, kind, n := protowire.ConsumeTag(record)
	if n < 0 {
		return nil, protowire.ParseError(n)
	}
	if field != 1 || kind != protowire.BytesType {
		return nil, nil // a field that is missing is empty
	}
	key, n := protowire.ConsumeBytes(record[n:])
	if n < 0 {
		return nil, protowire.ParseError(n)
	}
	return key, nil
}
