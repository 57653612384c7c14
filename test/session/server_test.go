// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before it counts as failed; a loaded
// machine needs it, a quiet one never waits.
const patience = 60 * time.Second

// eventually polls until try succeeds and shows its last error when it never does.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	err := try()
	for ; err != nil; err = try() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// output keeps what a process said.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // under mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a program until the test ends.
func start(t testing.TB, path string, args ...string) *output {
	t.Helper()
	said := &output{}
	command := exec.Command(path, args...)
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		err := command.Wait()
		if t.Failed() {
			t.Logf("%s ended with %v and said:\n%s", filepath.Base(path), err, said)
		}
	})
	return said
}

// startEtcd runs a real etcd and returns its address.
func startEtcd(t testing.TB) string {
	t.Helper()
	client, peer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	start(t, program(t, etcd), "--data-dir", t.TempDir(), "--log-level=panic",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	address := strings.TrimPrefix(client, "http://")
	healthy(t, address)
	return address
}

// healthy waits until etcd answers; it does not look at who asks while users do
// not count.
func healthy(t testing.TB, address string) {
	t.Helper()
	eventually(t, "etcd becomes healthy", func() error {
		out, err := exec.Command(program(t, etcdctl), "--endpoints="+address, "--user=root:root", "endpoint", "health").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// freeAddress returns an address that is free for a program which cannot choose
// one itself. It is below the ports that the system gives to whoever asks for any,
// so nobody takes it meanwhile; test/compat has ports of its own.
func freeAddress(t testing.TB) string {
	t.Helper()
	const first, count = 21_000, 11_000
	for range count {
		address := fmt.Sprint("127.0.0.1:", first+rand.IntN(count))
		if _, given := givenOut.LoadOrStore(address, true); given {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close() // it was only tried
			return address
		}
	}
	t.Fatalf("no port of %d from %d on is free", count, first)
	return ""
}

// givenOut are the addresses that freeAddress has returned, or found taken.
var givenOut sync.Map

// member is a running cleatd.
type member struct{ socket, client string }

var readyLine = regexp.MustCompile(`msg="?ready"? .*socket=(\S+) client=(\S+)`)

// startCleatd runs a member on an empty data directory; flags are added.
func startCleatd(t testing.TB, flags ...string) member {
	t.Helper()
	// Not below t.TempDir, whose long names a socket's path has no room for.
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	said := start(t, program(t, cleatd), append([]string{"--name=one", "--data-dir=" + filepath.Join(dir, "data"), "--socket=" + filepath.Join(dir, "cleat.sock"),
		"--listen-client=127.0.0.1:0"}, flags...)...)
	var m member
	eventually(t, "cleatd becomes ready", func() error {
		lines := bufio.NewScanner(strings.NewReader(said.String()))
		for lines.Scan() {
			if found := readyLine.FindStringSubmatch(lines.Text()); found != nil {
				m = member{socket: found[1], client: found[2]}
				return nil
			}
		}
		return fmt.Errorf("no ready line yet in:\n%s", said)
	})
	return m
}

// issue makes the files of a remote client and returns the flags to use them.
func (m member) issue(t testing.TB) []string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "alice")
	out, err := exec.Command(program(t, cleatctl), "--socket", m.socket, "cert", "issue", "alice", "--out", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("cert issue: %v: %s", err, out)
	}
	return []string{"--cacert=" + dir + "/ca.crt", "--cert=" + dir + "/alice.crt", "--key=" + dir + "/alice.key"}
}
