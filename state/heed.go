// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"sync"
)

// heed tells those who keep a bucket of the ledger in memory that it has
// changed. Whoever asks gets a channel that is closed then, reads the bucket,
// and waits: what changes between the two closes the channel, too.
//
//	apply:   ops of one batch ── its commit ── close the channels of its buckets
//	install: a checkpoint in the place of everything ── close all channels
type heed struct {
	mu      sync.Mutex
	buckets map[string]chan struct{} // under mu: of those that are asked for
}

// changed returns the channel of a bucket.
func (h *heed) changed(bucket string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.buckets == nil {
		h.buckets = map[string]chan struct{}{}
	}
	c, asked := h.buckets[bucket]
	if !asked {
		c = make(chan struct{})
		h.buckets[bucket] = c
	}
	return c
}

// tell closes the channels of the buckets, or all.
func (h *heed) tell(all bool, touched map[string]bool) {
	if !all && len(touched) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for bucket, c := range h.buckets {
		if all || touched[bucket] {
			close(c)
			delete(h.buckets, bucket)
		}
	}
}

// LedgerChanged returns a channel that is closed when the bucket has changed
// since this call, also by expiry or by a checkpoint that was installed; then
// LedgerList answers with what there is. It may be closed though the bucket is
// what it was.
func (m *Machine) LedgerChanged(bucket string) <-chan struct{} { return m.heed.changed(bucket) }

// touch notes that the batch changes a bucket.
func (a *applier) touch(bucket string) {
	if a.touched == nil {
		a.touched = map[string]bool{}
	}
	a.touched[bucket] = true
}

// bucketOf is the bucket of an item by its whole key.
func bucketOf(item []byte) string {
	bucket, _, _ := bytes.Cut(item, []byte{0})
	return string(bucket)
}
