// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hung apply loop is not reported as alive; an idle one is, and so is one
// that is behind but moves.
func TestTheWatchdogIsFedOnlyWhileEntriesAreApplied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")

	// Each look waits for the test's answer.
	looks := make(chan [2]uint64)
	progress := func() (committed, applied uint64) {
		select {
		case look := <-looks:
			return look[0], look[1]
		case <-t.Context().Done():
			return 0, 0
		}
	}
	var logged strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watchdog(ctx, slog.New(slog.NewTextHandler(&logged, nil)), progress) }()
	fed := func() {
		t.Helper()
		buf := make([]byte, 100)
		if err := systemd.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := systemd.Read(buf); err != nil || string(buf[:n]) != "WATCHDOG=1" {
			t.Fatalf("systemd heard %q, %v", buf[:n], err)
		}
	}
	for _, look := range [][2]uint64{{7, 7}, {7, 7}, {9, 8}, {12, 9}, {50, 10}} {
		looks <- look
		fed()
	}
	for range 5 {
		looks <- [2]uint64{60, 10}
	}
	looks <- [2]uint64{60, 11} // taken when the five before are done with
	fed()
	if n := drain(t, systemd); n != 0 {
		t.Errorf("a hung member fed the watchdog %d times", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logged.String(), "the watchdog is not fed") {
		t.Errorf("the log does not say so: %s", logged.String())
	}
}

// drain reads what is there and counts it.
func drain(t *testing.T, conn *net.UnixConn) int {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = raw.Read(func(fd uintptr) bool {
		buf := make([]byte, 100)
		for {
			if _, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); err != nil {
				return true
			}
			n++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
