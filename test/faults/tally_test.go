// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// silence is the longest time since a moment without an acknowledged write.
func (h *history) silence(since time.Duration) (longest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.now()
	for _, d := range slices.Backward(h.deeds) {
		if d.outcome != acknowledged || !d.answer.changed {
			continue
		}
		longest = max(longest, next-max(d.back, since))
		if next = d.back; next < since {
			break
		}
	}
	return longest
}

func (h *history) wroteSince(moment time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range slices.Backward(h.deeds) {
		if d.call >= moment && d.outcome == acknowledged && d.answer.changed {
			return true
		}
		if d.back < moment {
			return false
		}
	}
	return false
}

// count is what clients did, in words.
func (h *history) count() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	kinds := map[string]int{}
	for _, d := range h.deeds {
		kinds[string(d.outcome)]++
	}
	events := 0
	for _, w := range h.watches {
		events += len(w.events)
	}
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, fmt.Sprint(kinds[kind], " ", kind))
	}
	return fmt.Sprintf("%d requests (%s), %d locks taken, %d leases, %d watches with %d events",
		len(h.deeds), strings.Join(all, ", "), len(h.holds), len(h.leases), len(h.watches), events)
}
