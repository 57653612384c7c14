// SPDX-License-Identifier: Apache-2.0

package watch

// A client may ask how far its watchers have got all together. The answer is
// in turn with the events: it stands in the group's queue behind the cursors
// that had something when the hub had given out all that the request wants to
// know of. If they are not done when its turn comes it goes to the end again.

// RequestProgress makes Take return, in its turn, a revision up to which all
// cursors of the group have been given everything, and that is not older than
// the present at the time of this call. As long as one lags, or waits for a
// start in the future, there is no answer. One answer may serve several
// requests.
func (g *Group) RequestProgress() {
	h := g.hub
	present := h.source.Revision()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case g.ended != nil:
	case g.wanted == 0:
		g.wantLocked(present)
	default:
		g.later = present
	}
}

func (g *Group) wantLocked(rev int64) {
	g.wanted = rev
	if g.hub.next > rev {
		g.markLocked()
		return
	}
	g.hub.asking[g] = struct{}{}
	g.hub.soonest = min(g.hub.soonest, rev)
}

// markLocked gives the answer its place in the queue.
func (g *Group) markLocked() {
	g.queue = append(g.queue, nil)
	g.ring()
}

// answerLocked returns the answer if it can be given. It must come again
// otherwise: behind the cursors that keep it, or when the hub has reached the
// start of one.
func (g *Group) answerLocked() (Delivery, bool) {
	rev, start, lagging := g.progressLocked()
	if start > rev+1 {
		g.wantLocked(max(g.wanted, start-1))
		return Delivery{}, false
	}
	if lagging || rev < g.wanted {
		g.markLocked()
		return Delivery{}, false
	}
	g.wanted = 0
	if g.later > rev {
		g.wantLocked(g.later)
	}
	g.later = 0
	return Delivery{Batch: Batch{Revision: rev}}, true
}

// progressLocked returns the revision up to which everything has been given,
// the latest start, and whether a cursor lags.
func (g *Group) progressLocked() (rev, start int64, lagging bool) {
	rev = g.hub.next - 1
	for c := range g.cursors {
		rev = min(rev, g.hub.progressLocked(c))
		start = max(start, c.start)
		lagging = lagging || !c.caughtUp()
	}
	return rev, start, lagging
}
