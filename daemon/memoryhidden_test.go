// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryIsHiddenUnlessACoreIsAskedFor(t *testing.T) {
	dumpable := func() int {
		t.Helper()
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := dumpable()
	t.Cleanup(func() {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(before), 0, 0, 0); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("GOTRACEBACK", "crash")
	if err := HideMemory(); err != nil || dumpable() != before {
		t.Fatalf("asked for a core: %d (%v)", dumpable(), err)
	}
	t.Setenv("GOTRACEBACK", "single")
	if err := HideMemory(); err != nil || dumpable() != 0 {
		t.Errorf("it is still %d (%v)", dumpable(), err)
	}
}
