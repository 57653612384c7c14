// SPDX-License-Identifier: Apache-2.0

// Package compat runs the same steps against real etcd and against cleatd, as
// child processes, and compares what each answers: the whole response, or the
// code and the text of the refusal. What only differs because there are two
// servers (ids of cluster and member, the term) is masked; anything else that
// differs is a bug of ours, or has its name and its reason in the table
// exceptions.
//
// A test is a body that speaks to one side without knowing which it is. The
// body runs once for etcd and once for each door of cleatd, every time on a
// server of its own, so that revisions are the same everywhere. Clusters of three
// run one body after another, at the leader or at a follower, each with its
// revisions counted from where the last one ended.
//
// A program of ours that is missing fails the test, with the command that brings
// it; without another's client of etcd its test skips itself, with the same.
package compat

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// What the random test does; a failure prints the seed that repeats it.
var (
	seed = flag.Uint64("seed", 0, "seed of the random operations; 0 takes one from the clock")
	ops  = flag.Int("ops", 20_000, "how many random operations to compare")
)

// The programs, from the top of the checkout, and what builds each.
const (
	cleatd   = "bin/cleatd"
	cleatctl = "bin/cleatctl"
	etcd     = ".build/peers/etcd"
)

var builtBy = map[string]string{cleatd: "make build", cleatctl: "make build", etcd: "make peers"}

// program returns the path of a built program.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: bring it with %s", err, builtBy[name])
	}
	return path
}
