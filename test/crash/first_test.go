// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// firstStarts is how many directories begin with a kill, and longestStart the
// latest moment of it, counted from exec: about what a first start takes.
const (
	firstStarts  = 20
	longestStart = 60 * time.Millisecond
)

// TestAFirstStartCanBeKilled kills members before they have ever served, some
// several times on one directory. Whatever half a beginning is left, the next
// start goes on from it.
func TestAFirstStartCanBeKilled(t *testing.T) {
	chance := chance(t)
	for _, flag := range []string{"--raft-log=wal", "--raft-log=boltdb"} {
		t.Run(flag, func(t *testing.T) {
			served := 0
			for range firstStarts {
				h := newHome(t, flag)
				for range 1 + chance.IntN(3) {
					if killEarly(t, h, chance) {
						served++
					}
				}
				serves(t, h)
			}
			t.Logf("%d directories; %d of the starts that were killed had come to serve", firstStarts, served)
		})
	}
}

// killEarly says whether the member was ready before it was killed. It must
// not have ended by itself.
func killEarly(t *testing.T, h home, chance *rand.Rand) bool {
	t.Helper()
	p := h.launch(t)
	select {
	case <-time.After(time.Duration(chance.Int64N(int64(longestStart)))):
	case <-p.exited:
		t.Fatalf("cleatd refused what a killed start has left, and said:\n%s", p.said())
	}
	p.kill()
	return p.isReady()
}

// serves starts a member for good, twice.
func serves(t *testing.T, h home) {
	t.Helper()
	for i := range 2 {
		p := h.start(t)
		client := p.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		r, err := client.Put(ctx, fmt.Sprint(i), "x")
		if err != nil || r.Header.Revision != int64(i+2) {
			t.Errorf("put: %+v, %v", r, err)
		}
		cancel()
		_ = client.Close()
		p.kill()
	}
}
