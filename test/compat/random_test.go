// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// How many operations pass between two comparisons of all that the servers
// keep, and between two of their snapshots.
const (
	stateEvery    = 250
	snapshotEvery = 5_000
)

// worlds is how many pairs of servers share the operations: all in one would
// leave a core idle while the other answers.
const worlds = 2

// Operations that nobody would think of, one after the other on both sides,
// with the state compared on the way.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/compat -run %s -seed %d -ops %d", t.Name(), from, *ops)
	for world := range worlds {
		t.Run(fmt.Sprint("world ", world), func(t *testing.T) {
			t.Parallel()
			at := [2]*side{etcdMutual.open(t, append(inMemory(t), cheap...)...), mutual.open(t, append(inMemory(t), cheap...)...)}
			wander(t, rand.New(rand.NewPCG(from, uint64(world))), *ops/worlds, at)
		})
	}
}

// inACluster is how many times fewer operations are compared in a cluster, and
// stretch how many follow one another at one of its members.
const (
	inACluster = 10
	stretch    = 20
)

// The same with a cluster on each side, now at one member, now at another.
func TestRandomOperationsInACluster(t *testing.T) {
	t.Parallel()
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/compat -run %s -seed %d -ops %d", t.Name(), from, *ops)
	w := startMutualTwins(t, cheap...)
	var at [][2]*side
	for place := range members {
		at = append(at, [2]*side{w.want.visit(t, place, atPort), w.got.visit(t, place, atPort)})
	}
	wander(t, rand.New(rand.NewPCG(from, worlds)), *ops/inACluster, at...)
}

// wander begins at the first of the places, where it listens until the end.
func wander(t *testing.T, random *rand.Rand, steps int, at ...[2]*side) {
	t.Helper()
	p := newPair(t, at[0][0], at[0][1])
	g := &generator{Rand: random, pair: p}
	for i := range steps {
		if len(at) > 1 && i%stretch == stretch-1 {
			p.move(t, at[random.IntN(len(at))])
		}
		g.make(t)
		if i%stateEvery == 0 || i == steps-1 {
			g.compareState(t)
		}
		if i%snapshotEvery == snapshotEvery-1 || i == steps-1 {
			p.compareSnapshots(t)
		}
		if t.Failed() {
			t.Fatalf("at operation %d", i)
		}
	}
	t.Logf("%d operations led to revision %d; of %d requests %d were refused and %d were made while users counted; %d claims waited for others",
		steps, p.revision, p.requests, p.refused, p.guarded, p.contended)
}

// move goes on at another member of both, which has what the last one had: even
// of who is refused a read is agreed upon before.
func (p *pair) move(t testing.TB, to [2]*side) {
	t.Helper()
	p.sides, p.actor = to, "root"
	p.step(t, everything())
}

// inMemory returns the flags that have a server keep its data in memory, if
// there is room: nothing is lost here with the power, and waiting for the disk
// would be most of the time.
func inMemory(t testing.TB) []string {
	t.Helper()
	const room = 3 << 30 // a member's reserve is two at most
	var disk syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &disk); err != nil || disk.Bavail*uint64(disk.Bsize) < room {
		return nil
	}
	dir, err := os.MkdirTemp("/dev/shm", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return []string{"--data-dir=" + filepath.Join(dir, "data")}
}
