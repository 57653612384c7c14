// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"sync"
)

// changes tells who waits for a bucket of the ledger that it has changed. A
// reader takes the channel before it reads, so it misses nothing:
//
//	changed := m.LedgerChanged(bucket)
//	read the bucket
//	wait for changed, then all again
type changes struct {
	mu     sync.Mutex
	awaits map[string]chan struct{} // by bucket, of those that somebody waits for; closed under mu
}

func (c *changes) await(bucket string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaits == nil {
		c.awaits = make(map[string]chan struct{})
	}
	if c.awaits[bucket] == nil {
		c.awaits[bucket] = make(chan struct{})
	}
	return c.awaits[bucket]
}

func (c *changes) tell(buckets map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for bucket := range buckets {
		if changed := c.awaits[bucket]; changed != nil {
			close(changed)
			delete(c.awaits, bucket)
		}
	}
}

func (c *changes) tellAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, changed := range c.awaits {
		close(changed)
	}
	clear(c.awaits)
}

// LedgerChanged returns a channel that is closed when this member has applied a
// change of the bucket, or has taken over a checkpoint, in which anything may
// have changed. It may be called concurrently.
func (m *Machine) LedgerChanged(bucket string) <-chan struct{} { return m.ledger.await(bucket) }

// touch notes that the command changes the bucket.
func (a *applier) touch(bucket string) {
	if a.buckets == nil {
		a.buckets = make(map[string]bool)
	}
	a.buckets[bucket] = true
}

// bucketOf returns the bucket of an item's key in the table.
func bucketOf(item []byte) string {
	bucket, _, _ := bytes.Cut(item, []byte{0})
	return string(bucket)
}
