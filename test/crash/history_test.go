// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// history is what all writers of a member know of it together.
type history struct {
	mu        sync.Mutex
	deeds     map[int64]*deed // by revision: acknowledged, or found after a kill
	ids       uint64          // of values
	newest    int64           // revision of any answer
	compacted int64           // acknowledged or found; 0: never
	checked   int64           // newest revision at the last check

	acknowledgements int
}

func newHistory() *history { return &history{deeds: map[int64]*deed{}, newest: 1, checked: 1} }

// newestRevision is one that every later write must exceed.
func (h *history) newestRevision() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest
}

func (h *history) valueID() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids++
	return h.ids
}

// compactable chooses a revision to compact at. It is one that was checked:
// what was under way at a kill must stay to be seen.
func (h *history) compactable(chance *rand.Rand) (at int64, may bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := max(h.compacted, 1) + 1
	if from > h.checked {
		return 0, false
	}
	return from + chance.Int64N(h.checked-from+1), true
}

// acknowledged notes a deed that was sent when floor was the newest revision.
func (h *history) acknowledged(d *deed, rev, floor int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acknowledgements++
	h.newest = max(h.newest, rev)
	if d.verb == compact {
		h.compacted = max(h.compacted, d.at)
	}
	if len(d.keys) == 0 {
		if rev < floor {
			return fmt.Errorf("%s: answered with revision %d after %d", d, rev, floor)
		}
		return nil
	}
	if rev <= floor {
		return fmt.Errorf("%s: got revision %d after %d", d, rev, floor)
	}
	if other := h.deeds[rev]; other != nil {
		return fmt.Errorf("%s: got revision %d, which %s has", d, rev, other)
	}
	h.deeds[rev] = d
	return nil
}
