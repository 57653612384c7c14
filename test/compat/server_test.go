// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before it counts as failed; a loaded
// machine needs it, a quiet one never waits.
const patience = 30 * time.Second

// server is a running program and where its clients find it.
type server struct {
	address string      // of the TCP port; empty at the socket
	socket  string      // empty at a TCP port
	tls     *tls.Config // nil in plaintext
	bundle  string      // the directory with alice.crt, alice.key and ca.crt, if there is tls
}

// door starts a server on an empty data directory, until the test ends.
type door struct {
	name  string
	start func(t testing.TB, flags ...string) server
}

var (
	etcdDoor = door{"etcd", startEtcd}
	socket   = door{"socket", startSocket}
	mutual   = door{"mtls", startMutual}
)

// startEtcd runs a real etcd on a port that was free a moment ago, since etcd
// cannot tell which port it chose itself. Nothing is lost here with the power,
// so it need not wait for the disk.
func startEtcd(t testing.TB, flags ...string) server {
	t.Helper()
	client, peer := freeAddress(t), freeAddress(t)
	run(t, program(t, etcd), append([]string{
		"--data-dir", t.TempDir(), "--log-level=panic", "--unsafe-no-fsync",
		"--listen-client-urls=http://" + client, "--advertise-client-urls=http://" + client,
		"--listen-peer-urls=http://" + peer, "--initial-advertise-peer-urls=http://" + peer, "--initial-cluster=default=http://" + peer,
	}, flags...)...)
	return server{address: client}
}

// freeAddress returns an address that is free for a program which cannot choose
// one itself. It is below the ports that the system gives to whoever asks for any,
// so nobody takes it meanwhile; test/session has ports of its own.
func freeAddress(t testing.TB) string {
	t.Helper()
	const first, count = 10_000, 11_000
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

func startSocket(t testing.TB, flags ...string) server {
	t.Helper()
	path, _ := startCleatd(t, flags...)
	return server{socket: path}
}

func startMutual(t testing.TB, flags ...string) server {
	t.Helper()
	path, address := startCleatd(t, flags...)
	bundle := filepath.Join(t.TempDir(), "alice")
	return server{address: address, tls: issue(t, path, bundle), bundle: bundle}
}

var readyLine = regexp.MustCompile(`msg="?ready"? .*socket=(\S+) client=(\S+)\n`)

// startCleatd runs a member and returns its doors.
func startCleatd(t testing.TB, flags ...string) (path, address string) {
	t.Helper()
	// Not below t.TempDir, whose long names a socket's path has no room for.
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	said := run(t, program(t, cleatd), append([]string{
		"--name=one", "--data-dir=" + filepath.Join(dir, "data"),
		"--socket=" + filepath.Join(dir, "cleat.sock"), "--listen-client=127.0.0.1:0",
	}, flags...)...)
	found := said.await(t, readyLine)
	return found[1], found[2]
}

// issue makes a remote client's certificate and returns how to use it.
func issue(t testing.TB, path, dir string) *tls.Config {
	t.Helper()
	out, err := exec.Command(program(t, cleatctl), "--socket", path, "cert", "issue", "alice", "--out", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("cert issue: %v: %s", err, out)
	}
	certificate, err := tls.LoadX509KeyPair(dir+"/alice.crt", dir+"/alice.key")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(dir + "/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots, MinVersion: tls.VersionTLS13}
}

// run starts a program, which ends with the test.
func run(t testing.TB, path string, args ...string) *output {
	t.Helper()
	said := &output{more: make(chan struct{}, 1)}
	command := exec.Command(path, args...)
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	said.process = command.Process
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		err := command.Wait()
		if t.Failed() {
			t.Logf("%s ended with %v and said:\n%s", filepath.Base(path), err, said)
		}
	})
	return said
}

// output keeps what a process says.
type output struct {
	process *os.Process
	more    chan struct{} // holds a token after each write

	mu   sync.Mutex
	text bytes.Buffer // under mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default: // it holds one
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns the first match in what the process says.
func (o *output) await(t testing.TB, pattern *regexp.Regexp) []string {
	t.Helper()
	return o.awaitAgain(t, pattern, 1)
}

// awaitAgain returns the match with a number.
func (o *output) awaitAgain(t testing.TB, pattern *regexp.Regexp, number int) []string {
	t.Helper()
	late := time.After(patience)
	for {
		if found := pattern.FindAllStringSubmatch(o.String(), number); len(found) == number {
			return found[number-1]
		}
		select {
		case <-o.more:
		case <-late:
			t.Fatalf("the process did not say %s %d times, but:\n%s", pattern, number, o)
		}
	}
}

// target is the server's name for grpc and for etcd's client.
func (s server) target() string {
	if s.socket != "" {
		return fmt.Sprintf("unix://%s", s.socket)
	}
	return s.address
}
