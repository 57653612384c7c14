// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

var (
	// ErrNewer: the snapshot is of an etcd that came after this program.
	ErrNewer = errors.New("backup: snapshot of a newer etcd")
	// ErrBump: a revision is not raised so far.
	ErrBump = errors.New("backup: revision that cannot be raised")
)

// Found is what a snapshot has.
type Found struct {
	Revision  int64 // the newest
	Compacted int64 // the history before it may have holes; -1: it begins with the first
	Changes   int   // of keys
	Leases    []lease.Lease
	Auth      auth.Content
}

// Check reads all of a snapshot that is to begin bump revisions behind itself,
// and changes nothing. The error is [file.ErrForeign] for one that is not
// etcd's, [file.ErrDamaged], ErrNewer or ErrBump.
func Check(s *file.Reader, bump int64) (Found, error) {
	f := Found{Revision: 1, Compacted: -1}
	if err := checkKind(s); err != nil {
		return f, err
	}
	if err := f.readMeta(s); err != nil {
		return f, err
	}
	err := eachChange(s, func(c kv.Change) error {
		f.Revision = max(f.Revision, c.Main)
		f.Changes++
		return nil
	})
	if err != nil {
		return f, err
	}
	if bump < 0 || bump > maxRevision-f.Revision {
		return f, fmt.Errorf("%w: %d by %d", ErrBump, f.Revision, bump)
	}
	if f.Auth, err = readAuth(s); err != nil {
		return f, err
	}
	if err := WalkLedger(s, func(state.LedgerItem) error { return nil }); err != nil {
		return f, err
	}
	return f, s.Walk(file.Lease, func(key, value []byte) error {
		l, err := decodeLease(key, value)
		f.Leases = append(f.Leases, l)
		return err
	})
}

func checkKind(s *file.Reader) error {
	has := map[string]bool{}
	for _, name := range s.Buckets() {
		has[name] = true
	}
	for _, name := range []string{file.Key, file.Meta} {
		if !has[name] {
			return fmt.Errorf("%w: it has no bucket %q", file.ErrForeign, name)
		}
	}
	return nil
}

func (f *Found) readMeta(s *file.Reader) error {
	return s.Walk(file.Meta, func(key, value []byte) error {
		switch string(key) {
		case file.StorageVersion:
			return checkVersion(string(value))
		case file.FinishedCompaction, file.ScheduledCompaction: // etcd finishes at its start what it has scheduled
			main, _, _, err := file.ParseRevision(value)
			if err != nil {
				return err
			}
			if main > maxRevision {
				return fmt.Errorf("%w: compacted at revision %d", file.ErrDamaged, main)
			}
			if main > 0 {
				f.Compacted, f.Revision = max(f.Compacted, main), max(f.Revision, main)
			}
		}
		return nil
	})
}

// checkVersion refuses the storage of an etcd that we have not seen.
func checkVersion(version string) error {
	own := func(text string) (major, minor int, ok bool) {
		first, rest, _ := strings.Cut(text, ".")
		second, _, _ := strings.Cut(rest, ".")
		major, err := strconv.Atoi(first)
		minor, also := strconv.Atoi(second)
		return major, minor, err == nil && also == nil
	}
	major, minor, ok := own(version)
	if !ok {
		return fmt.Errorf("%w: storage version %q", file.ErrDamaged, version)
	}
	if m, n, _ := own(StorageVersion); major > m || major == m && minor > n {
		return fmt.Errorf("%w: its storage is of version %s, this program knows %s", ErrNewer, version, StorageVersion)
	}
	return nil
}

// maxRevision leaves room for what kv keeps beside a revision.
const maxRevision = math.MaxInt64 >> 2

// eachChange calls fn for each change of the history. It is valid during the
// call only. An empty key with an empty record stands for a revision at which
// nothing changed: etcdutl writes it to raise the revision.
func eachChange(s *file.Reader, fn func(kv.Change) error) error {
	var record mvccpb.KeyValue
	lastMain, lastSub := int64(0), int64(0)
	return s.Walk(file.Key, func(key, value []byte) error {
		main, sub, deleted, err := file.ParseRevision(key)
		if err != nil {
			return err
		}
		if main < 1 || main > maxRevision || sub > math.MaxUint32 {
			return fmt.Errorf("%w: revision %d.%d", file.ErrDamaged, main, sub)
		}
		if main == lastMain && sub == lastSub { // the order of bytes is that of numbers, but for the mark of a deletion
			return fmt.Errorf("%w: revision %d.%d is there twice", file.ErrDamaged, main, sub)
		}
		lastMain, lastSub = main, sub
		c := kv.Change{Main: main, Sub: uint32(sub), Deleted: deleted, Record: kv.Record{}}
		if len(value) == 0 && !deleted {
			return fn(c)
		}
		if err := proto.Unmarshal(value, &record); err != nil {
			return fmt.Errorf("%w: record of revision %d.%d: %w", file.ErrDamaged, main, sub, err)
		}
		if c.Key = record.Key; len(c.Key) == 0 {
			return fmt.Errorf("%w: revision %d.%d without a key", file.ErrDamaged, main, sub)
		}
		if deleted {
			return fn(c)
		}
		if record.ModRevision != main || record.CreateRevision < 1 || record.CreateRevision > main || record.Version < 1 {
			return fmt.Errorf("%w: record of revision %d.%d names revision %d, created at %d, version %d",
				file.ErrDamaged, main, sub, record.ModRevision, record.CreateRevision, record.Version)
		}
		c.Record = kv.NewRecord(record.Key, record.Value, record.CreateRevision, record.ModRevision, record.Version, record.Lease)
		return fn(c)
	})
}

// Restore makes an empty state what the snapshot has, as Check found it, and
// returns the revision with which it begins: the snapshot's, or, if bump is not
// zero, so many behind it with all before that compacted, so that clients that
// saw more than the snapshot has never see a revision again. It is durable with
// the next flush. Members and alarms are not taken over: it is another cluster.
func Restore(s *file.Reader, f Found, store *kv.Store, m *state.Machine, bump int64) (int64, error) {
	l, err := store.Load()
	if err != nil {
		return 0, err
	}
	defer l.Close()
	if err = eachChange(s, l.Add); err != nil {
		return 0, err
	}
	revision, compacted := f.Revision, f.Compacted
	if bump > 0 {
		revision += bump
		compacted = revision
		if err := l.Add(kv.Change{Main: revision, Record: kv.Record{}}); err != nil {
			return 0, err
		}
	}
	if err := l.Finish(revision, compacted); err != nil {
		return 0, err
	}
	if err := m.LoadRules(f.Auth); err != nil {
		return 0, err
	}
	return revision, m.LoadLeases(f.Leases)
}
