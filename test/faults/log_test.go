// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// changes is the whole history as a member tells it: by revision, from 2 on.
type changes map[int64][]change

// change is what an event says; values that fill disks are kept in brief.
type change struct {
	kv      *mvccpb.KeyValue
	deleted bool
}

func (c change) event() event {
	if c.deleted {
		return delEvent(string(c.kv.Key), c.kv.ModRevision)
	}
	return putEvent(c.kv)
}

// readChanges reads all that has happened up to a revision by a watch.
func readChanges(ctx context.Context, c *clientv3.Client, last int64) (changes, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := changes{}
	at := int64(1)
	if last == at { // nothing is left
		return all, nil
	}
	for r := range c.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := r.Err(); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		for _, e := range r.Events {
			if rev := e.Kv.ModRevision; rev != at && rev != at+1 {
				return nil, fmt.Errorf("the history goes from revision %d to %d", at, rev)
			}
			at = e.Kv.ModRevision
			e.Kv.Value = []byte(brief(e.Kv.Value))
			all[at] = append(all[at], change{kv: e.Kv, deleted: e.Type == clientv3.EventTypeDelete})
		}
		if at >= last {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the history ended at revision %d of %d: %w", at, last, ctx.Err())
}

// differ says where two members tell different histories.
func (c changes) differ(o changes) error {
	for rev := int64(2); rev <= int64(max(len(c), len(o)))+1; rev++ {
		if have, want := fmt.Sprint(c.events(rev)), fmt.Sprint(o.events(rev)); have != want {
			return fmt.Errorf("revision %d is %s at one and %s at the other", rev, have, want)
		}
	}
	return nil
}

func (c changes) events(revision int64) (all []event) {
	for _, one := range c[revision] {
		all = append(all, one.event())
	}
	return all
}

// near shows the history around a revision.
func (c changes) near(revision int64) (text string) {
	for rev := revision - 3; rev <= revision+3; rev++ {
		for _, e := range c.events(rev) {
			text += fmt.Sprintf("\n    %d: %s", rev, e.text)
		}
	}
	return text
}
