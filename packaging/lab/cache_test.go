// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// release is a Debian whose root is made from these packages.
type release struct {
	name     string
	packages string
}

const common = "systemd,systemd-sysv,dbus,iproute2,procps,etcd-client"

// trixie has what installs rpms, too; once is enough for those.
var (
	trixie   = &release{"trixie", common + ",rpm,dnf,createrepo-c"}
	bookworm = &release{"bookworm", common}
)

// cache is where the tools and roots are kept between runs.
func cache() string {
	if dir := os.Getenv("CLEAT_LAB_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir() // XDG_CACHE_HOME, or ~/.cache
	if err != nil {
		dir = "/var/cache"
	}
	return filepath.Join(dir, mark)
}

// work is where the machines of this run are.
func work() string { return filepath.Join(cache(), "run") }

// need skips a story that cannot be told here.
func need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip(notRoot)
	}
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
}

// prepare makes the directory of a run, once: in memory where there is plenty,
// since a root has ten thousand files that are soon removed again.
var prepare = sync.OnceValue(func() error {
	if err := os.MkdirAll(work(), 0o755); err != nil {
		return err
	}
	if available() < 8<<30 {
		return nil
	}
	if err := syscall.Mount(mark, work(), "tmpfs", 0, "size=4g,mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", work(), err)
	}
	return nil
})

// available is how much memory nobody uses.
func available() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	kib, err := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

var (
	basesLock sync.Mutex
	bases     = map[*release]string{} // unpacked in this run
)

// base is the directory with the release's root, which nobody changes.
func (r *release) base(t testing.TB) string {
	t.Helper()
	basesLock.Lock()
	defer basesLock.Unlock()
	if bases[r] != "" {
		return bases[r]
	}
	tar, err := r.tar()
	if err != nil {
		t.Fatalf("the root of %s: %v", r.name, err)
	}
	dir := filepath.Join(work(), "base", r.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("tar", "-C", dir, "--numeric-owner", "--xattrs", "-xf", tar).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v: %s", tar, err, said)
	}
	if err := tidy(dir); err != nil {
		t.Fatal(err)
	}
	bases[r] = dir
	return dir
}

// tidy takes what must differ between machines, and has journals kept over
// the end of a machine.
func tidy(root string) error {
	for _, name := range []string{"etc/hostname", "var/lib/dbus/machine-id"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), nil, 0o444); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(root, "var/log/journal"), 0o755)
}

// tar is the release's root as mmdebstrap made it. What it was made from is in
// its name, so that another list of packages makes another.
func (r *release) tar() (string, error) {
	path := filepath.Join(cache(), r.name+"-"+digest(r.packages)+".tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tools, err := tools()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "lab: making %s, which is kept\n", path)
	part := path + ".part"
	c := exec.Command("perl", filepath.Join(tools, "usr/bin/mmdebstrap"), "--quiet", "--mode=root", "--variant=minbase", "--format=tar",
		"--include="+r.packages, r.name, part)
	c.Env = append(os.Environ(), "TMPDIR="+work())
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w: %s", err, said)
	}
	old, err := filepath.Glob(filepath.Join(cache(), r.name+"-*.tar"))
	if err != nil {
		return "", err
	}
	for _, path := range old {
		_ = os.Remove(path) // it is only in the way
	}
	return path, os.Rename(part, path)
}

// What boots machines and makes roots; the host is left as it is, since to
// install these would upgrade its own systemd.
const toolPackages = "systemd-container libsystemd-shared libsystemd0 mmdebstrap"

// tools is the directory into which those packages of the host's own release
// are unpacked.
var tools = sync.OnceValues(func() (string, error) {
	host, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache(), "tools-"+digest(toolPackages+string(host)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "lab: fetching %s into %s\n", toolPackages, dir)
	script := `cd "$1" && shift
		apt-get -qq download "$@" 2>/dev/null || { apt-get -qq update && apt-get -qq download "$@"; }
		for package in *.deb; do dpkg -x "$package" . && rm "$package"; done`
	c := exec.Command("sh", append([]string{"-ec", script, "sh", part}, strings.Fields(toolPackages)...)...)
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch %s (this needs apt-get and dpkg): %w: %s", toolPackages, err, said)
	}
	return dir, os.Rename(part, dir)
})

func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:12] }
