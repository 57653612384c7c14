// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// hraft counts entries, and ours are of any size: whatever it would do by count
// is off or bounded by bytes.
func TestNothingHappensByTheCountOfEntries(t *testing.T) {
	h := (&Config{Member: 7, ElectionTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)}).hraftConfig()
	if h.MaxAppendEntries*maxGroupBytes >= 64<<20 {
		t.Errorf("%d entries in a message: full groups do not fit 64 MiB", h.MaxAppendEntries)
	}
	if h.SnapshotThreshold < 1<<62 || h.SnapshotInterval < 10*365*24*time.Hour {
		t.Errorf("hraft makes labels by itself, after %d entries or %s", h.SnapshotThreshold, h.SnapshotInterval)
	}
	if defaultTrailingBytes > 256<<20 {
		t.Errorf("%d bytes of log stay behind a label", defaultTrailingBytes)
	}
}

// Another member that is a little behind is served from the log; a member alone
// need not keep it.
func TestTheLogBehindALabelStaysForOthersOnly(t *testing.T) {
	for name, alone := range map[string]bool{"alone": true, "among others": false} {
		t.Run(name, func(t *testing.T) {
			m := open(t, t.TempDir(), onLog(logBoltDB), func(c *Config) {
				c.ElectionTimeout = 50 * time.Millisecond
				c.faults.alone = func() bool { return alone }
			})
			for range 3 {
				m.write(t, strings.Repeat("x", keepAlone))
			}
			m.moveLabel()
			if first := m.Status().First; (first > 1) != alone {
				t.Errorf("the log begins at entry %d", first)
			}
		})
	}
}
