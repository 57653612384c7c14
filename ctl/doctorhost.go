// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// What a member needs of its machine.
const (
	probes    = 48                     // of the disk
	probeSize = 4 << 10                // about an entry of the log
	slowDisk  = 10 * time.Millisecond  // the median, and each write waits for two
	hungDisk  = 500 * time.Millisecond // the worst; a leader that is silent for longer is replaced
	fewFiles  = 4096
	littleRAM = 256 << 20
)

// directory looks who may read and write the data.
func (p *patient) directory() {
	if p.dataDir == "" {
		p.add(skipped, "directory", "", "the data directory is not known")
		return
	}
	info, err := os.Stat(p.dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.status == nil:
		p.add(good, "directory", "", "there is no %s yet: the first start makes it", p.dataDir)
		p.dataDir = ""
		return
	case err != nil:
		p.unseen("directory", err)
		return
	case !info.IsDir():
		p.add(fault, "directory", "choose another data-dir", "%s is no directory", p.dataDir)
		return
	}
	before := len(p.findings)
	if info.Mode().Perm()&0o077 != 0 {
		p.add(fault, "directory", "chmod 0700 "+p.dataDir, "others than its owner may look into %s (mode %04o), where keys are", p.dataDir, info.Mode().Perm())
	}
	owner := ownerOf(info)
	if uid, known := p.uid(); known && owner != uid {
		p.add(fault, "directory", fmt.Sprintf("chown -R %d %s", uid, p.dataDir), "%s belongs to uid %d, and the member runs as uid %d", p.dataDir, owner, uid)
	}
	if err := p.strangers(owner); err != nil {
		p.unseen("directory", err)
		return
	}
	if len(p.findings) == before {
		p.add(good, "directory", "", "%s belongs to uid %d, who alone may look into it", p.dataDir, owner)
	}
}

// strangers finds what in the directory is another's: somebody else has started
// cleatd, or restored, once.
func (p *patient) strangers(owner uint32) error {
	first, n := "", 0
	err := filepath.WalkDir(p.dataDir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil && ownerOf(info) != owner {
			if n++; first == "" {
				first = path
			}
		}
		return nil
	})
	if n > 0 {
		p.add(fault, "directory", fmt.Sprintf("chown -R %d %s", owner, p.dataDir), "%s in the data directory do not belong to uid %d, such as %s", count(n, "name"), owner, first)
	}
	return err
}

func ownerOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// unseen is what this user may not look at.
func (p *patient) unseen(check string, err error) {
	p.add(skipped, check, "", "%v: run it as root", err)
}

// uid is whom the member runs as.
func (p *patient) uid() (uint32, bool) {
	info, err := os.Stat(p.proc(""))
	if p.pid == 0 || err != nil {
		return 0, false
	}
	return ownerOf(info), true
}

// disk measures how much room there is and how long it takes until what is
// written is safe.
func (p *patient) disk() {
	if p.dataDir == "" {
		p.add(skipped, "disk", "", "there is no data directory to look at")
		return
	}
	var room unix.Statfs_t
	if err := unix.Statfs(p.dataDir, &room); err != nil {
		p.unseen("disk", err)
		return
	}
	free := humanize.Bytes(room.Bavail * uint64(room.Bsize))
	if p.settings["reserve-bytes"] == "0" {
		p.add(warning, "disk", "leave reserve-bytes out", "no reserve is kept free (reserve-bytes = 0): a member whose disk gets full ends")
	}
	took, err := fsyncs(p.dataDir)
	if err != nil {
		p.unseen("disk", err)
		return
	}
	median, worst := took[len(took)/2], took[len(took)-1]
	const mend = "put the data on a local SSD that it need not share: every write waits for the disks of most members"
	told := fmt.Sprintf("%s free; an fsync takes %s in the median, %s at worst", free, rough(median), rough(worst))
	switch {
	case worst > hungDisk:
		p.add(warning, "disk", mend, "%s, as long as a leader is waited for", told)
	case median > slowDisk:
		p.add(warning, "disk", mend, "%s, which is slow", told)
	default:
		p.add(good, "disk", "", "%s", told)
	}
}

// fsyncs are the times of some writes, each made safe, in their order.
func fsyncs(dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil { // at once, whatever becomes of this program
		return nil, err
	}
	block := make([]byte, probeSize)
	for range probes {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took, nil
}

// memory compares what the member believes it may take with what it may.
func (p *patient) memory() {
	machine := p.number("proc/meminfo", "MemTotal:") << 10
	limit, whose := machine, "the machine has"
	if group := p.groupMemory(); group > 0 && group < machine {
		limit, whose = group, "its control group may take"
	}
	set, _ := strconv.ParseInt(p.settings["memory-bytes"], 10, 64) // unknown: as none
	told := fmt.Sprintf("%s %s", whose, humanize.IBytes(uint64(limit)))
	if p.pid > 0 {
		told += fmt.Sprintf(", the member takes %s", humanize.IBytes(uint64(p.number(filepath.Join("proc", fmt.Sprint(p.pid), "status"), "VmRSS:")<<10)))
	}
	switch {
	case machine == 0:
		p.add(skipped, "memory", "", "/proc/meminfo does not tell how much there is")
	case set > limit:
		p.add(fault, "memory", "lower memory-bytes, or leave it out", "memory-bytes is %s, but %s: the kernel would end the member", humanize.IBytes(uint64(set)), told)
	case limit < littleRAM:
		p.add(warning, "memory", "give it more", "%s, which is little", told)
	default:
		p.add(good, "memory", "", "%s", told)
	}
}

// groupMemory is the least that the member's control group and those around it
// may take, zero if nobody says.
func (p *patient) groupMemory() (least int64) {
	own, _ := os.ReadFile(p.proc("cgroup")) // none: no member, or no control groups
	for line := range strings.Lines(string(own)) {
		path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		for unified {
			said, _ := os.ReadFile(filepath.Join(p.root, "sys/fs/cgroup", path, "memory.max")) // the root has none
			if n, err := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64); err == nil && (least == 0 || n < least) {
				least = n // "max" is no number
			}
			if path == "" || path == "." {
				break
			}
			path = filepath.Dir(path)
		}
	}
	return least
}

// number is the first one in the line of a file that begins with a word.
func (p *patient) number(path, word string) int64 {
	text, _ := os.ReadFile(filepath.Join(p.root, path)) // zero: unknown
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, word); found && len(strings.Fields(rest)) > 0 {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// files is how many files and connections the member may have open.
func (p *patient) files() {
	if p.pid == 0 {
		p.add(skipped, "files", "", "the limit of open files is the running member's")
		return
	}
	limit := p.number(filepath.Join("proc", fmt.Sprint(p.pid), "limits"), "Max open files")
	open, err := os.ReadDir(p.proc("fd"))
	switch {
	case limit == 0 || err != nil:
		p.add(skipped, "files", "", "what process %d has open cannot be seen: run it as root", p.pid)
	case limit < fewFiles || int64(len(open)) > limit/5*4:
		p.add(warning, "files", "raise LimitNOFILE in cleatd.service", "%d of at most %d files and connections are open", len(open), limit)
	default:
		p.add(good, "files", "", "%d of at most %d files and connections are open", len(open), limit)
	}
}
