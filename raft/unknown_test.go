// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"slices"
	"testing"

	hraft "github.com/hashicorp/raft"
)

// lost is what hraft answers for an entry whose leader was deposed: another may
// commit it.
type lost struct{ hraft.ApplyFuture }

func (lost) Error() error { return hraft.ErrLeadershipLost }

// Only the caller can find out whether it happened, and only he may try again.
func TestWhatMayHaveHappenedIsProposedOnce(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	p := ask(0)
	p.command = []byte("perhaps")
	g, err := m.line.join(p)
	if err != nil || g == nil {
		t.Fatalf("group %v, %v", g, err)
	}
	m.line.register(g, encodeGroup(g.proposals))
	m.submitted <- submission{g, lost{}}
	if out := <-p.done; !errors.Is(out.err, ErrUnknown) {
		t.Errorf("answered %v, want ErrUnknown", out.err)
	}
	m.write(t, "after")
	if lines := m.book.lines(); !slices.Equal(lines, []string{"after"}) {
		t.Errorf("applied %q, want only what came after", lines)
	}
}
