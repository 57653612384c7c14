// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The strongest word about memory counts, and the collector hears of it.
func TestMemoryIsWhatTheStrongestWordSays(t *testing.T) {
	machine := map[string]string{"proc/meminfo": "MemTotal:  8 kB\nMemFree: 4 kB\n"}
	group := map[string]string{
		"proc/meminfo":                           "MemTotal:  8 kB\n",
		"proc/self/cgroup":                       "0::/system/cleat\n",
		"sys/fs/cgroup/system/cleat/memory.max":  "max\n",
		"sys/fs/cgroup/system/memory.max":        "1000\n",
		"sys/fs/cgroup/system/other/memory.max":  "10\n",
		"sys/fs/cgroup/unrelated/cleat/memory.a": "5\n",
	}
	for name, c := range map[string]struct {
		setting, environment int64
		files                map[string]string
		want, limit          int64
	}{
		"the setting before all":               {7, 5, group, 7, 7},
		"GOMEMLIMIT before the control group":  {0, 5, group, 5, 5},
		"a control group around the process's": {0, math.MaxInt64, group, 900, 900},
		"half of the machine":                  {0, math.MaxInt64, machine, 4 << 10, math.MaxInt64},
		"nothing where nobody tells":           {0, math.MaxInt64, nil, 0, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			root, limit := t.TempDir(), c.environment
			for path, content := range c.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			set := func(n int64) int64 {
				was := limit
				if n >= 0 {
					limit = n
				}
				return was
			}
			if got := memoryOf(c.setting, c.environment, root, set, slog.New(slog.DiscardHandler)); got != c.want || limit != c.limit {
				t.Errorf("memory %d, the collector's limit %d; want %d and %d", got, limit, c.want, c.limit)
			}
		})
	}
}
