// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseTTL outlives every test: nothing expires.
const leaseTTL = 3600

// keysEach is how many keys of each sort a writer has.
const keysEach = 6

// writer writes one deed after another to keys of its own. It lives through
// the kills; one goroutine uses it at a time.
type writer struct {
	id       int
	chance   *rand.Rand
	largest  int  // bytes of a value
	compacts bool // it gives up old history too

	own     items          // what was acknowledged, or found
	leases  map[int64]bool // likewise
	granted int64
	unknown *deed // under way at the kill
}

func newWriter(id int, chance *rand.Rand, largest int, compacts bool) *writer {
	return &writer{id: id, chance: chance, largest: largest, compacts: compacts, own: items{}, leases: map[int64]bool{}}
}

// run writes until the kill. An answer before it must be a good one. It calls
// begun after its first acknowledgement.
func (w *writer) run(ctx context.Context, c *clientv3.Client, h *history, killed *atomic.Bool, begun func()) error {
	for {
		err := w.step(ctx, c, h)
		var wrong *wrongAnswer
		if killed.Load() && !errors.As(err, &wrong) && err != nil {
			return nil
		}
		if err != nil {
			return err
		}
		begun()
	}
}

// wrongAnswer is an acknowledgement that must not have been given so.
type wrongAnswer struct{ error }

// step does one deed. If it gets no answer, the deed is unknown.
func (w *writer) step(ctx context.Context, c *clientv3.Client, h *history) error {
	d := w.next(h)
	floor := h.newestRevision()
	rev, err := d.do(ctx, c, w.own)
	if err != nil {
		w.unknown = d
		return fmt.Errorf("%s: %w", d, err)
	}
	if err := h.acknowledged(d, rev, floor); err != nil {
		return &wrongAnswer{err}
	}
	w.learn(d, rev)
	return nil
}

// learn takes over what a deed has changed.
func (w *writer) learn(d *deed, rev int64) {
	switch d.verb {
	case grant:
		w.leases[d.lease] = true
	case revoke:
		delete(w.leases, d.lease)
	}
	w.own.apply(d, rev)
}

// next chooses a deed that will succeed.
func (w *writer) next(h *history) *deed {
	d := &deed{writer: w.id, verb: put, keys: []string{w.key("k")}}
	switch n := w.chance.IntN(100); {
	case n < 30:
		d.verb, d.keys = pair, []string{w.key("p"), w.key("q")}
	case n < 40 && len(w.own) > 0:
		return w.removal(d)
	case n < 44 && len(w.leases) < 3:
		w.granted++
		d.verb, d.keys, d.lease = grant, nil, int64(w.id+1)<<32|w.granted
		return d
	case n < 46 && len(w.leases) > 0:
		d.verb, d.lease = revoke, w.lease()
		d.keys = w.own.attached(d.lease)
		return d
	case n < 48 && w.compacts:
		if at, may := h.compactable(w.chance); may {
			d.verb, d.keys, d.at = compact, nil, at
			return d
		}
	}
	d.value = value{id: h.valueID(), size: w.chance.IntN(w.largest)}
	if len(w.leases) > 0 && w.chance.IntN(3) == 0 {
		d.lease = w.lease()
	}
	return d
}

func (w *writer) removal(d *deed) *deed {
	keys := slices.Sorted(maps.Keys(w.own))
	d.verb, d.keys = remove, keys[w.chance.IntN(len(keys)):][:1]
	if w.chance.IntN(4) == 0 {
		d.verb, d.keys = sweep, keys
	}
	return d
}

func (w *writer) key(sort string) string {
	return fmt.Sprintf("w%d/%s%d", w.id, sort, w.chance.IntN(keysEach))
}

func (w *writer) lease() int64 {
	leases := slices.Sorted(maps.Keys(w.leases))
	return leases[w.chance.IntN(len(leases))]
}

// do sends the deed and returns its revision. An answer that does not say what
// it must is an error.
func (d *deed) do(ctx context.Context, c *clientv3.Client, own items) (int64, error) {
	switch d.verb {
	case put:
		r, err := c.Put(ctx, d.keys[0], string(d.value.bytes()), clientv3.WithLease(clientv3.LeaseID(d.lease)))
		if err != nil {
			return 0, err
		}
		return r.Header.Revision, nil
	case pair:
		return d.doPair(ctx, c, own)
	case remove:
		r, err := c.Delete(ctx, d.keys[0])
		return deleted(r, err, 1)
	case sweep:
		r, err := c.Delete(ctx, fmt.Sprintf("w%d/", d.writer), clientv3.WithPrefix())
		return deleted(r, err, len(d.keys))
	case grant:
		r, err := clientv3.RetryLeaseClient(c).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: d.lease, TTL: leaseTTL})
		if err != nil {
			return 0, err
		}
		return r.Header.Revision, nil
	case revoke:
		r, err := c.Revoke(ctx, clientv3.LeaseID(d.lease))
		if err != nil {
			return 0, err
		}
		return r.Header.Revision, nil
	default:
		r, err := c.Compact(ctx, d.at)
		if err != nil {
			return 0, err
		}
		return r.Header.Revision, nil
	}
}

func (d *deed) doPair(ctx context.Context, c *clientv3.Client, own items) (int64, error) {
	first, second := d.keys[0], d.keys[1]
	text, lease := string(d.value.bytes()), clientv3.WithLease(clientv3.LeaseID(d.lease))
	r, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(first), "=", own[first].mod)).
		Then(clientv3.OpPut(first, text, lease), clientv3.OpPut(second, text, lease)).
		Commit()
	if err != nil {
		return 0, err
	}
	if !r.Succeeded {
		return 0, &wrongAnswer{errors.New("the key has another revision than was acknowledged")}
	}
	return r.Header.Revision, nil
}

func deleted(r *clientv3.DeleteResponse, err error, want int) (int64, error) {
	if err != nil {
		return 0, err
	}
	if r.Deleted != int64(want) {
		return 0, &wrongAnswer{fmt.Errorf("%d keys were deleted, want %d", r.Deleted, want)}
	}
	return r.Header.Revision, nil
}
