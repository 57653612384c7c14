// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// place is a running server with keys, history and leases.
type place struct {
	t     testing.TB
	flags []string // by which etcdctl finds it
	stop  func()   // etcd only
}

func atCleatd(t testing.TB, flags ...string) place {
	t.Helper()
	return place{t: t, flags: []string{"--endpoints=unix://" + startCleatd(t, flags...).socket}}
}

// atEtcd runs etcd on a directory that there may be.
func atEtcd(t testing.TB, dir string) place {
	t.Helper()
	client := freeAddress(t)
	command := exec.Command(program(t, etcd), "--data-dir", dir, "--log-level=panic",
		"--listen-client-urls=http://"+client, "--advertise-client-urls=http://"+client, "--listen-peer-urls=http://"+freeAddress(t))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop := func() {
		if !ended {
			ended = true
			_ = command.Process.Signal(syscall.SIGTERM)
			_ = command.Wait()
		}
	}
	t.Cleanup(stop)
	healthy(t, client)
	return place{t, []string{"--endpoints=" + client}, stop}
}

func (p place) ctl(args ...string) string {
	p.t.Helper()
	return must(p.t, program(p.t, etcdctl), append(p.flags, args...)...)
}

func must(t testing.TB, path string, args ...string) string {
	t.Helper()
	command := exec.Command(path, args...)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", filepath.Base(path), args, err, out, &stderr)
	}
	return string(out)
}

// fill makes history: changes, tombstones, a compaction, leases with keys.
func (p place) fill(compact string) {
	p.t.Helper()
	lease := strings.Fields(p.ctl("lease", "grant", "9000"))[1]
	p.ctl("lease", "grant", "9000")
	for i := range 12 {
		p.ctl("put", fmt.Sprint("k", i%4), strings.Repeat("v", i*100))
		if i%5 == 0 {
			p.ctl("del", fmt.Sprint("k", i%4))
		}
	}
	p.ctl("compaction", compact)
	p.ctl("put", "leased", "x", "--lease="+lease)
	p.ctl("put", "no longer", "x", "--lease="+lease)
	p.ctl("put", "no longer", "y")
}

var (
	hashLine = regexp.MustCompile(`"hash":(\d+),"compact_revision":(-?\d+),"hash_revision":(\d+)`)
	keysLine = regexp.MustCompile(`"kvs":.*`)
)

// content is all that a backup must keep, as text: the hash of the history,
// every key at every revision that is left, leases with their keys.
func (p place) content() string {
	p.t.Helper()
	hash := hashLine.FindStringSubmatch(p.ctl("endpoint", "hashkv", "-w", "json"))
	if hash == nil {
		p.t.Fatal("no hash")
	}
	text := []string{fmt.Sprint(hash[1:])}
	var first, last int
	_, _ = fmt.Sscan(hash[2], &first)
	_, _ = fmt.Sscan(hash[3], &last)
	for rev := first; rev <= last; rev++ {
		text = append(text, keysLine.FindString(p.ctl("get", "", "--prefix", "-w", "json", "--rev", fmt.Sprint(rev))))
	}
	for _, id := range slices.Sorted(slices.Values(strings.Fields(p.ctl("lease", "list"))[3:])) { // each has its order
		_, keys, _ := strings.Cut(p.ctl("lease", "timetolive", id, "--keys"), "attached")
		text = append(text, id+" "+keys)
	}
	return strings.Join(text, "\n")
}

func (p place) saved() string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "snapshot.db")
	p.ctl("snapshot", "save", path)
	return path
}

func toEtcd(t testing.TB, snapshot string, flags ...string) place {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etcd")
	must(t, program(t, etcdutl), append([]string{"snapshot", "restore", snapshot, "--data-dir", dir}, flags...)...)
	return atEtcd(t, dir)
}

func toCleat(t testing.TB, snapshot string, flags ...string) place {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cleat")
	must(t, program(t, cleatctl), append([]string{"snapshot", "restore", snapshot, "--data-dir", dir}, flags...)...)
	return atCleatd(t, "--data-dir="+dir)
}

func TestBackupsGoToEtcdAndComeBack(t *testing.T) {
	t.Parallel()
	ours := atCleatd(t)
	ours.fill("7")
	want := ours.content()
	snapshot := ours.saved()
	theirs := toEtcd(t, snapshot)
	if got := theirs.content(); got != want {
		t.Errorf("etcd has\n%s\nnot\n%s", got, want)
	}
	theirs.fill("25") // etcd goes on with it
	want = theirs.content()
	if got := toCleat(t, theirs.saved()).content(); got != want {
		t.Errorf("back in cleat there is\n%s\nnot\n%s", got, want)
	}
	raised := []string{"--bump-revision=1000", "--mark-compacted"}
	if a, b := toEtcd(t, snapshot, raised...).content(), toCleat(t, snapshot, raised...).content(); a != b {
		t.Errorf("raised in etcd:\n%s\nin cleat:\n%s", a, b)
	}
	again := toCleat(t, snapshot, "--name=m1", "--initial-cluster=m1=http://10.0.0.1:2380", "--initial-cluster-token=x", // as scripts for etcdutl have them
		"--initial-advertise-peer-urls=http://10.0.0.1:2380", "--initial-memory-map-size=1000000000").saved()
	hash := func(path string) string { return must(t, program(t, etcdutl), "hashkv", path) } // it writes to the file
	if got, want := hash(again), hash(snapshot); got != want {
		t.Errorf("etcdutl hashes %s, and what was restored and saved again %s", want, got)
	}
}

// Of an etcd that is stopped its own file will do.
func TestTheDatabaseOfEtcdIsTaken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	theirs := atEtcd(t, dir)
	theirs.fill("7")
	want := theirs.content()
	theirs.stop()
	file := filepath.Join(dir, "member", "snap", "db")
	out, err := exec.Command(program(t, cleatd), "restore", file, "--data-dir", filepath.Join(t.TempDir(), "no")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--skip-hash-check") {
		t.Errorf("without being told: %v, %s", err, out)
	}
	if got := toCleat(t, file, "--skip-hash-check").content(); got != want {
		t.Errorf("cleat has\n%s\nnot\n%s", got, want)
	}
}

// cleatctl tells of a file what etcdutl tells, in each form, and saves as
// etcdctl does.
func TestCleatctlPrintsEtcdutlsBytes(t *testing.T) {
	t.Parallel()
	ours, theirs := atCleatd(t), atEtcd(t, filepath.Join(t.TempDir(), "etcd"))
	ours.fill("7")
	theirs.fill("7")
	for _, snapshot := range []string{ours.saved(), theirs.saved()} {
		for _, form := range []string{"simple", "fields", "json", "table"} {
			got := must(t, program(t, cleatctl), "snapshot", "status", snapshot, "-w", form)
			want := must(t, program(t, etcdutl), "snapshot", "status", snapshot, "-w", form)
			if got != want {
				t.Errorf("-w %s\ncleatctl: %s\n etcdutl: %s", form, got, want)
			}
		}
	}
	dir := t.TempDir()
	got := must(t, program(t, cleatctl), append(ours.flags, "snapshot", "save", filepath.Join(dir, "a"))...)
	want := must(t, program(t, etcdctl), append(ours.flags, "snapshot", "save", filepath.Join(dir, "b"))...)
	if strings.ReplaceAll(got, "/a", "/b") != want {
		t.Errorf("save\ncleatctl: %s\n etcdctl: %s", got, want)
	}
	info, err := os.Stat(filepath.Join(dir, "a"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	one, err := os.ReadFile(filepath.Join(dir, "a"))
	other, also := os.ReadFile(filepath.Join(dir, "b"))
	if err != nil || also != nil || string(one) != string(other) {
		t.Errorf("the files differ: %v %v", err, also)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("there is %v, %v", left, err)
	}
}

func TestASnapshotThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	ours := atCleatd(t)
	ours.fill("7")
	whole, err := os.ReadFile(ours.saved())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, raw := range map[string][]byte{
		"cut": whole[:len(whole)/2], "hashless": whole[:len(whole)-32], "text": []byte("hello"), "empty": nil,
		"changed": append(append([]byte(nil), whole[:5000]...), append([]byte{whole[5000] ^ 1}, whole[5001:]...)...),
	} {
		path, target := filepath.Join(dir, name), filepath.Join(dir, "data")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program(t, cleatctl), "snapshot", "restore", path, "--data-dir", target).CombinedOutput()
		if err == nil || !strings.Contains(string(out), path) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if _, err := os.Stat(target); !os.IsNotExist(err) {
			t.Errorf("%s: something was written: %v", name, err)
		}
	}
}
