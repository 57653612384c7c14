// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	hraft "github.com/hashicorp/raft"
)

// labels is hraft's snapshot store. The state is on disk already, so a
// snapshot is only a label: everything up to index is durable in the machine,
// and the cluster's configuration was this.
//
// hraft believes a label more than anything: at start it never applies an
// entry at or below it. So a label becomes visible only after Machine.Persist
// has returned for its index; the sink refuses to close otherwise. It is
// written beside its predecessor, fsynced and renamed, and only then does the
// predecessor go.
type labels struct {
	dir  string
	put  func(path string, data []byte) error // writeDurably
	fail func(error)

	// pack makes a label of now, with the state to be sent.
	pack         func() (*hraft.SnapshotMeta, io.ReadCloser, error)
	installation *installation
}

const labelSuffix = ".label"

func openLabels(dir string, fail func(error)) (*labels, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make labels: %w", err)
	}
	torn, err := filepath.Glob(filepath.Join(dir, "*"+labelSuffix+".tmp")) // left by a crash
	for _, path := range torn {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("clear labels: %w", err)
	}
	return &labels{dir: dir, put: writeDurably, fail: fail}, nil
}

func (s *labels) Create(_ hraft.SnapshotVersion, index, term uint64, configuration hraft.Configuration,
	configurationIndex uint64, _ hraft.Transport) (hraft.SnapshotSink, error) {
	return &sink{labels: s, meta: newLabel(index, term, configuration, configurationIndex)}, nil
}

func newLabel(index, term uint64, configuration hraft.Configuration, configurationIndex uint64) *hraft.SnapshotMeta {
	return &hraft.SnapshotMeta{
		Version: 1,
		ID:      fmt.Sprintf("%016x-%016x", index, term),
		Index:   index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}
}

// List returns the newest label. Older ones are left-overs: the log behind
// them may be gone.
func (s *labels) List() ([]*hraft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	m, err := s.read(names[len(names)-1])
	if err != nil {
		return nil, err
	}
	return []*hraft.SnapshotMeta{m}, nil
}

// Open is hraft's way to the state behind a label. A label has none: what is
// being installed is on the shelf already, and a member that needs a state gets
// that of now.
func (s *labels) Open(id string) (*hraft.SnapshotMeta, io.ReadCloser, error) {
	if meta, _ := s.installation.intended(); meta != nil && meta.ID == id {
		return meta, io.NopCloser(strings.NewReader("")), nil
	}
	return s.pack()
}

// names returns the labels' file names, oldest first.
func (s *labels) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list labels: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), labelSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *labels) read(name string) (*hraft.SnapshotMeta, error) {
	m, err := readLabel(filepath.Join(s.dir, name))
	if err == nil && m == nil {
		err = fmt.Errorf("label %s has gone", name)
	}
	return m, err
}

// readLabel returns nil if there is no such file.
func readLabel(path string) (*hraft.SnapshotMeta, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read label: %w", err)
	}
	m, err := decodeLabel(data)
	if err != nil {
		return nil, fmt.Errorf("label %s: %w", path, err)
	}
	return newLabel(m.Index, m.Term, m.Configuration, m.ConfigurationIndex), nil
}

// raise writes a label unless there is a newer one.
func (s *labels) raise(m *hraft.SnapshotMeta) error {
	newest, err := s.List()
	if err != nil || len(newest) > 0 && newest[0].Index >= m.Index {
		return err
	}
	return s.write(m)
}

// write makes a label visible and durable, then removes the others.
func (s *labels) write(m *hraft.SnapshotMeta) error {
	path := filepath.Join(s.dir, m.ID+labelSuffix)
	old, err := s.names()
	if err != nil {
		return err
	}
	if err := s.put(path, encodeLabel(m)); err != nil {
		return fmt.Errorf("write label: %w", err)
	}
	for _, name := range old {
		if name == m.ID+labelSuffix {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("remove old label: %w", err)
		}
	}
	return nil
}

// sink is a label being made, on hraft's snapshot goroutine; or the token of a
// state that another member has sent, on its main loop.
type sink struct {
	labels   *labels
	meta     *hraft.SnapshotMeta
	durable  bool // the machine has persisted meta.Index
	received bool
	closed   bool
}

var errLabelEarly = errors.New("label would run ahead of the durable state")

func (s *sink) ID() string    { return s.meta.ID }
func (s *sink) Cancel() error { return nil }

// Write is called with the token. This member's own labels write nothing.
func (s *sink) Write(token []byte) (int, error) {
	s.received = true
	return len(token), nil
}

// Close makes the label visible. hraft may call it again.
func (s *sink) Close() error {
	switch {
	case s.closed:
		return nil
	case s.received:
		err := s.labels.installation.intend(s.meta)
		s.closed = err == nil
		return err
	case !s.durable:
		return errLabelEarly
	}
	if err := s.labels.write(s.meta); err != nil {
		s.labels.fail(err)
		return err
	}
	s.closed = true
	return nil
}

// writeDurably writes a file that is there whole or not at all.
func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A label on disk, integers as uvarints and strings with their length before
// them:
//
//	version 1 | index | term | configuration index | count × (suffrage | id | address) | crc32c, 4 bytes little endian
const labelVersion = 1

var errLabel = errors.New("damaged")

func encodeLabel(m *hraft.SnapshotMeta) []byte {
	data := []byte{labelVersion}
	data = binary.AppendUvarint(data, m.Index)
	data = binary.AppendUvarint(data, m.Term)
	data = binary.AppendUvarint(data, m.ConfigurationIndex)
	data = binary.AppendUvarint(data, uint64(len(m.Configuration.Servers)))
	for _, server := range m.Configuration.Servers {
		data = binary.AppendUvarint(data, uint64(server.Suffrage))
		data = binary.AppendUvarint(data, uint64(len(server.ID)))
		data = append(data, server.ID...)
		data = binary.AppendUvarint(data, uint64(len(server.Address)))
		data = append(data, server.Address...)
	}
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, crcTable))
}

func decodeLabel(data []byte) (*hraft.SnapshotMeta, error) {
	if len(data) > 0 && data[0] > labelVersion {
		return nil, fmt.Errorf("has format %d, this version reads %d", data[0], labelVersion)
	}
	if len(data) < 5 || binary.LittleEndian.Uint32(data[len(data)-4:]) != crc32.Checksum(data[:len(data)-4], crcTable) {
		return nil, fmt.Errorf("%w: checksum", errLabel)
	}
	r := reader{rest: data[1 : len(data)-4]}
	m := &hraft.SnapshotMeta{Version: 1, Index: r.uvarint(), Term: r.uvarint(), ConfigurationIndex: r.uvarint()}
	for range r.uvarint() {
		m.Configuration.Servers = append(m.Configuration.Servers, hraft.Server{
			Suffrage: hraft.ServerSuffrage(r.uvarint()),
			ID:       hraft.ServerID(r.text()),
			Address:  hraft.ServerAddress(r.text()),
		})
		if r.bad {
			break
		}
	}
	if r.bad || len(r.rest) != 0 {
		return nil, fmt.Errorf("%w: contents", errLabel)
	}
	return m, nil
}

// reader takes values off the front of rest until one is missing.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, rest, ok := cutUvarint(r.rest)
	if !ok {
		r.bad = true
		return 0
	}
	r.rest = rest
	return v
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes()) }

// bytes returns part of what is read.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}
