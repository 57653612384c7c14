// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/mirror"
)

// mirroring is one run of make-mirror.
type mirroring struct {
	from, to *clientv3.Client
	prefix   string // what is mirrored
	under    string // what stands there in its place
	most     int    // operations of a transaction

	total atomic.Int64 // keys put and deleted, for whoever watches
	done  int64        // the source's revision up to which the destination has all
}

func makeMirror(c *cli.Context) error {
	m, err := readMirroring(c)
	if err != nil {
		return err
	}
	there, err := mirrorDoor(c)
	if err != nil {
		return err
	}
	here, err := chooseDoor(c)
	if err != nil {
		return err
	}
	if m.to, err = there.connect(c); err != nil {
		return err
	}
	defer m.to.Close()
	if m.from, err = here.connect(c); err != nil {
		return err
	}
	defer m.from.Close()
	ctx, stop := context.WithCancel(c.Context)
	telling := m.tell(ctx, c)
	err = m.run(ctx, c.Int64("rev"))
	stop()
	<-telling
	if m.done > 0 {
		err = fmt.Errorf("%w; the mirror has all up to revision %d: --rev %d goes on there", err, m.done, m.done+1)
	}
	return err
}

func readMirroring(c *cli.Context) (*mirroring, error) {
	m := &mirroring{prefix: c.String("prefix"), under: c.String("dest-prefix"), most: int(c.Uint("max-txn-ops"))}
	switch {
	case c.NArg() != 1 || c.Args().First() == "":
		return nil, misuse("make-mirror needs DESTINATION, the HOST:PORT of a member there")
	case c.Bool("no-dest-prefix") && m.under != "":
		return nil, misuse("--dest-prefix and --no-dest-prefix exclude each other: give one of them")
	case m.most < 1:
		return nil, misuse("--max-txn-ops is at least 1, not %d", m.most)
	case c.Int64("rev") < 0:
		return nil, misuse("--rev is a revision of the source, not %d", c.Int64("rev"))
	case m.under == "" && !c.Bool("no-dest-prefix"):
		m.under = m.prefix
	}
	return m, nil
}

// tell prints twice a minute how many keys were mirrored. The channel is closed
// when it has ended.
func (m *mirroring) tell(ctx context.Context, c *cli.Context) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintln(c.App.Writer, m.total.Load())
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

// run copies what there is, unless a revision says from where on changes are
// wanted, and then follows the changes until something fails.
func (m *mirroring) run(ctx context.Context, rev int64) error {
	source := mirror.NewSyncer(m.from, m.prefix, max(rev-1, 0))
	if rev <= 1 {
		if err := m.copy(ctx, source); err != nil {
			return err
		}
	}
	for r := range source.SyncUpdates(ctx) {
		if err := r.Err(); err != nil {
			return fmt.Errorf("watch the source: %w", err)
		}
		if err := m.apply(ctx, r.Events); err != nil {
			return err
		}
	}
	return errors.New("the source ended the watch")
}

// copy puts what there is, key by key, as large as each may be.
func (m *mirroring) copy(ctx context.Context, source mirror.Syncer) error {
	pages, failed := source.SyncBase(ctx)
	for page := range pages {
		for _, record := range page.Kvs {
			if _, err := m.to.Put(ctx, m.name(record.GetKey()), string(record.GetValue())); err != nil {
				return fmt.Errorf("put %q at the destination: %w", record.GetKey(), err)
			}
			m.total.Add(1)
		}
	}
	if err := <-failed; err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	return nil
}

// apply makes each revision's changes a transaction there too, or several when
// they are more than a transaction may have.
func (m *mirroring) apply(ctx context.Context, events []*clientv3.Event) error {
	var ops []clientv3.Op
	commit := func() error {
		if len(ops) == 0 {
			return nil
		}
		if _, err := m.to.Txn(ctx).Then(ops...).Commit(); err != nil {
			return fmt.Errorf("write to the destination: %w", err)
		}
		m.total.Add(int64(len(ops)))
		ops = nil
		return nil
	}
	for i, event := range events {
		key := m.name(event.GetKv().GetKey())
		if event.GetType() == mvccpb.Event_DELETE {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(event.GetKv().GetValue())))
		}
		rev := event.GetKv().GetModRevision()
		whole := i+1 == len(events) || events[i+1].GetKv().GetModRevision() > rev
		if !whole && len(ops) < m.most {
			continue
		}
		if err := commit(); err != nil {
			return err
		}
		if whole {
			m.done = rev
		}
	}
	return nil
}

// name is a key's name at the destination.
func (m *mirroring) name(key []byte) string {
	return m.under + strings.TrimPrefix(string(key), m.prefix)
}
