// SPDX-License-Identifier: Apache-2.0

// Package crash kills real cleatd processes with SIGKILL under load and checks
// what their successors hold against what the writers were told.
//
// The writers share one member but no keys, so that each is able to say what
// its next write does: its events, their versions, their revision. They note
// what was acknowledged; what was under way at the kill is unknown. After each
// restart the whole history is read again by a watch and replayed on a model:
//
//   - each revision is one acknowledged write, or one unknown one, whole;
//   - no acknowledged write is missing, no revision is used twice;
//   - every key, its versions, its lease, and the past at some revision are
//     exactly what the model says.
//
// Three members are killed, too: the leader, under load; one that takes a state
// of a million keys; and each in turn is stopped in order, which nobody may
// notice.
//
// A program that is missing fails the test, with the command that brings it.
package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A failure prints the seed. It repeats the writers' choices and the moments
// of the kills, not what the machine does between them.
var (
	seed  = flag.Uint64("seed", 0, "seed of the writers and the kills; 0 takes one from the clock")
	kills = flag.Int("kills", 50, "how often to kill a member under load")
)

// cleatd is the program, from the top of the checkout.
const cleatd = "bin/cleatd"

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	fmt.Printf("crash: -seed %d\n", *seed)
	os.Exit(m.Run())
}

// chance is the source of a test's random choices.
func chance(t testing.TB) *rand.Rand {
	t.Helper()
	t.Logf("repeat with -seed %d", *seed)
	return rand.New(rand.NewPCG(*seed, uint64(len(t.Name()))))
}

// program returns the path of the built cleatd.
func program(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", cleatd))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make build", err)
	}
	return path
}
