// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Table is the replicated set of leases. Grant, Revoke, Attach, Detach and
// Checkpoint belong to the one goroutine that applies commands; they depend on
// nothing but the commands. The other methods may be called concurrently.
type Table struct {
	metrics tableMetrics

	mu     sync.RWMutex // written by the applying goroutine alone
	leases map[int64]Lease
	feed   *feed // nil unless a keeper follows
}

// Load returns the table that the records in r describe. A damaged record is
// named in the error; one of a newer version is [ErrFormat]. A nil registerer
// registers no metrics.
func Load(r Reader, reg prometheus.Registerer) (*Table, error) {
	t := new(Table)
	t.metrics = newTableMetrics(reg, func() float64 {
		t.mu.RLock()
		defer t.mu.RUnlock()
		return float64(len(t.leases))
	})
	if err := t.Reload(r); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload replaces the leases by those in r, after the whole state was replaced.
// That happens to members that do not lead; a running keeper does not see it.
func (t *Table) Reload(r Reader) error {
	leases := make(map[int64]Lease)
	err := r.Scan([]byte{kindLease}, func(key, value []byte) error {
		l, err := decode(key, value)
		leases[l.ID] = l
		return err
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leases = leases
	return nil
}

// Grant makes a lease; index is that of the log entry which carries the grant.
// It fails with [ErrNotFound] for id zero, which means no lease, with
// [ErrExists], or with [ErrTTLTooLarge].
func (t *Table) Grant(w Writer, id, ttl int64, index uint64) error {
	if id == 0 {
		return ErrNotFound
	}
	if ttl > MaxTTL {
		return ErrTTLTooLarge
	}
	if _, known := t.Lookup(id); known {
		return ErrExists
	}
	l := Lease{ID: id, TTL: ttl, Remaining: ttl, Granted: index}
	t.put(w, l, granted)
	t.metrics.granted.Inc()
	t.metrics.ttl.Observe(float64(ttl))
	return nil
}

// Revoke ends a lease and forgets its attachments. It returns the keys that
// were attached, sorted, for the caller to delete. It fails with [ErrNotFound],
// or as rw does.
func (t *Table) Revoke(rw ReadWriter, id int64) ([][]byte, error) {
	keys, err := t.Keys(rw, id)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		rw.Delete(attachmentKey(id, key))
	}
	rw.Delete(leaseKey(id))

	t.mu.Lock()
	l, feed := t.leases[id], t.feed
	delete(t.leases, id)
	t.mu.Unlock()
	feed.add(change{revoked, l})
	t.metrics.revoked.Inc()
	return keys, nil
}

// Attach makes a key die with a lease. The caller detaches it from the lease
// that held it before. It fails with [ErrNotFound].
func (t *Table) Attach(w Writer, id int64, key []byte) error {
	if _, known := t.Lookup(id); !known {
		return ErrNotFound
	}
	w.Set(attachmentKey(id, key), []byte{recordVersion})
	return nil
}

// Detach frees a key from a lease; it does nothing if it was not attached.
func (t *Table) Detach(w Writer, id int64, key []byte) {
	w.Delete(attachmentKey(id, key))
}

// Checkpoint records how many seconds a lease had left; the whole TTL, or
// anything that is not between zero and it, says that the lease was renewed.
// It fails with [ErrNotFound], also if the ID was granted again since.
func (t *Table) Checkpoint(w Writer, r Ref, remaining int64) error {
	l, known := t.Lookup(r.ID)
	if !known || l.Ref() != r {
		return ErrNotFound
	}
	what := checkpointed
	if remaining <= 0 || remaining >= l.TTL {
		remaining, what = l.TTL, renewed
	}
	l.Remaining = remaining
	t.put(w, l, what)
	return nil
}

func (t *Table) put(w Writer, l Lease, what happening) {
	w.Set(leaseKey(l.ID), encode(l))
	t.mu.Lock()
	feed := t.feed
	t.leases[l.ID] = l
	t.mu.Unlock()
	feed.add(change{what, l})
}

// Lookup returns a lease and whether there is one.
func (t *Table) Lookup(id int64) (Lease, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, known := t.leases[id]
	return l, known
}

// Holds returns whether a lease is there, and is the grant that is meant.
func (t *Table) Holds(r Ref) bool {
	l, known := t.Lookup(r.ID)
	return known && l.Ref() == r
}

// Keys returns the keys attached to a lease, sorted. It fails with
// [ErrNotFound], or as r does.
func (t *Table) Keys(r Reader, id int64) ([][]byte, error) {
	if _, known := t.Lookup(id); !known {
		return nil, ErrNotFound
	}
	var keys [][]byte
	err := r.Scan(prefix(kindAttachment, id), func(key, _ []byte) error {
		keys = append(keys, bytes.Clone(key[prefixLen:]))
		return nil
	})
	return keys, err
}

// All returns the leases by ID.
func (t *Table) All() []Lease {
	t.mu.RLock()
	all := slices.AppendSeq(make([]Lease, 0, len(t.leases)), maps.Values(t.leases))
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Len returns how many leases there are.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.leases)
}
