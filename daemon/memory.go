// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// memory says how much the member may take, and tells Go's collector where
// nobody else has. The environment's word is what Go has read of it. The strongest word is the setting's; then GOMEMLIMIT, which
// Go has read; then nine tenths of what the control group may take, since what
// is not Go's (Pebble's cache, stacks, files) counts there too; then half of the
// machine, which is not the member's alone and so is no limit for the collector.
func memory(setting, environment int64, log *slog.Logger) int64 {
	return memoryOf(setting, environment, "/", debug.SetMemoryLimit, log)
}

func memoryOf(setting, environment int64, root string, limit func(int64) int64, log *slog.Logger) int64 {
	if setting > 0 {
		limit(setting)
		return setting
	}
	limit(environment) // a reload may take the setting back
	if environment != math.MaxInt64 {
		return environment
	}
	if group := groupMemory(root); group > 0 {
		limit(group / 10 * 9)
		log.Info("the control group bounds memory", "bytes", group, "collector", group/10*9)
		return group / 10 * 9
	}
	return machineMemory(root) / 2
}

// groupMemory is the least that this process's control group and those around
// it may take, zero if nobody says.
func groupMemory(root string) int64 {
	own, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // none: no control groups
	least := int64(0)
	for line := range strings.Lines(string(own)) {
		path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !unified {
			continue
		}
		for {
			said, _ := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", path, "memory.max")) // the root has none
			if n, err := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
				least = n // "max" is no number
			}
			if path == "/" || path == "." || path == "" {
				break
			}
			path = filepath.Dir(path)
		}
	}
	return least
}

// machineMemory is what the machine has, zero if it does not tell.
func machineMemory(root string) int64 {
	said, _ := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	for line := range strings.Lines(string(said)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(fields[1], 10, 64) // zero: unknown
			return kb << 10
		}
	}
	return 0
}
