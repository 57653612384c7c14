// SPDX-License-Identifier: Apache-2.0

// Package faults breaks what surrounds the members of a cluster while many
// clients use it, and checks afterwards that nobody was told anything untrue.
//
// The members are real processes, each in a network namespace of its own, with
// a disk and a wall clock of its own. Nemeses kill and stop them, cut and thin
// out the network between them, move their clocks, fill their disks, and put
// new machines in their places. Clients reach members by their sockets, which
// no cut touches.
//
// Afterwards the whole history is read at every member. All must have the
// same, and against it everything is held that clients were told:
//
//   - every acknowledged write is at the revision that was its answer, whole;
//     every revision belongs to one write that was acknowledged, or whose
//     outcome is unknown; what was refused is nowhere;
//   - what began after an answer knows at least the answer's revision;
//   - every read, comparison and count agrees with the state at its revision;
//   - every watcher was given exactly the history of its range, in order;
//   - no lease has ended before its time, and each that was left alone has;
//   - who was told that it holds a lock was the first in line.
//
// Revisions are the order of everything, so this is complete: it decides in
// linear time whether the history is linearizable. Porcupine, which knows
// nothing of revisions, looks at each key besides.
//
// Three programs that each break a rule show that the check would notice.
//
// Without root, who alone may make namespaces, the tests are skipped. A
// program that is missing fails them, with the command that brings it.
package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The seed repeats the schedule of the faults and the clients' choices, not
// what the machine does between them.
var (
	seed    = flag.Uint64("seed", 0, "seed of the faults and the clients; 0 takes one from the clock")
	lasting = flag.Duration("for", 2*time.Minute, "for how long to let the nemeses strike")
	only    = flag.String("only", "", "let only these nemeses strike, by name, with commas between")
	size    = flag.Int("members", 3, "how many members a cluster has")
)

// patience is how long anything may take before it counts as failed; a loaded
// machine needs it, a quiet one never waits.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	fmt.Printf("faults: -seed %d\n", *seed)
	os.Exit(m.Run())
}

// chance is a source of random choices; each user has one of its own, so that
// none depends on what another has drawn before.
func chance(user uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, user)) }

// needRoot skips a test that cannot run, or fails it if only a package lacks.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make network namespaces: run the tests as root, too")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: run make setup", err)
		}
	}
}

// program is the path of a built program, from the top of the checkout.
func program(t testing.TB, path ...string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil {
		t.Fatalf("%v: run make build faulty", err)
	}
	return abs
}
