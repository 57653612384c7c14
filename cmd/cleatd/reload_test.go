// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cleatd/cleat/admin"
)

// executed runs cleatd to its end and returns what it printed, what it said and its
// code.
func executed(t *testing.T, environ []string, args ...string) (printed, said string, code int) {
	t.Helper()
	cmd := exec.CommandContext(limited(t), os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "CLEAT_TEST_MAIN=1"), environ...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return out.String(), talk.String(), cmd.ProcessState.ExitCode()
}

func writer(t *testing.T, path string) func(string) {
	return func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What ExecReload= runs: it waits, says what has become of each setting, and fails
// with the reason when the configuration is refused.
func TestReloadWaitsForTheOutcomeAndFailsWithTheReason(t *testing.T) {
	dir := t.TempDir()
	heard := listenNotify(t, filepath.Join(dir, "notify"))
	config := filepath.Join(dir, "cleatd.toml")
	write := writer(t, config)
	write("log-level = \"info\"\n")
	p := start(t, dir, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}, "--config", config).ready()
	reload := func() (string, string, int) {
		t.Helper()
		return executed(t, nil, "reload", "--config", config, "--socket", p.socket)
	}

	write("max-txn-ops = 7\nelection-timeout = \"7s\"\n")
	printed, said, code := reload()
	const want = "max-txn-ops: 7 (was 128)\nelection-timeout: stays 500ms until the next start, then 7s\n"
	if code != 0 || printed != want || said != "" {
		t.Errorf("code %d, printed %q, said %q; want 0 and %q", code, printed, said, want)
	}
	heard.await("STATUS=reloading")
	heard.await("READY=1\nSTATUS=leader of cluster ")

	write("max-txn-ops = 8\nelection-timeout = \n")
	printed, said, code = reload()
	refusal := "cleatd: the new configuration is refused, the old one stays in force: configuration: " + config + ":2: "
	if code != 1 || printed != "" || !strings.HasPrefix(said, refusal) || strings.Count(said, "\n") != 1 {
		t.Errorf("code %d, printed %q, said %q; want 1 and %q", code, printed, said, refusal)
	}
	heard.await("READY=1\nSTATUS=leader of cluster ")
	p.await(`level=ERROR msg="the new configuration is refused, the old one stays in force" cause=.*cleatd.toml:2`)

	write("max-txn-ops = 7\n")
	if printed, said, code = reload(); code != 0 || printed != "No setting has changed.\n" || said != "" {
		t.Errorf("nothing new: code %d, printed %q, said %q", code, printed, said)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, said, code = reload(); code != 1 || !strings.Contains(said, "no member answers at "+p.socket) || strings.Count(said, "\n") != 1 {
		t.Errorf("without a member: code %d, said %q", code, said)
	}
	if _, said, code = executed(t, nil, "reload", "now"); code != 2 || !strings.Contains(said, `unexpected argument "now"`) {
		t.Errorf("misused: code %d, said %q", code, said)
	}
}

// The client door moves under TLS clients that go on, and serves new ones.
func TestTheClientDoorMovesUnderItsClients(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "cleatd.toml")
	write := writer(t, config)
	write("listen-client = \"127.0.0.1:0\"\n")
	p := launch(t, nil, os.Args[0], "--config", config, "--data-dir", filepath.Join(dir, "data"),
		"--socket", filepath.Join(dir, "cleat.sock"), "--name", "test")
	p.socket = filepath.Join(dir, "cleat.sock")
	p.ready()
	alice := p.issue("alice", time.Hour)
	conn := over(t, p.held(alice, "h2"))
	watch := watchFoo(t, conn)
	old := p.address()

	write("listen-client = \"localhost:0\"\n")
	if _, said, code := executed(t, nil, "reload", "--socket", p.socket); code != 0 {
		t.Fatalf("code %d: %s", code, said)
	}
	moved := p.await(`msg="door moved" door=client to=(\S+)`)[1]
	if _, err := net.Dial("tcp", old); err == nil {
		t.Error("the old door is open still")
	}
	fresh := alice.config()
	fresh.ServerName = "localhost"
	fresh.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", moved, fresh)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, way := range []*grpc.ClientConn{conn, over(t, c)} {
		if _, err := pb.NewKVClient(way).Put(limited(t), &pb.PutRequest{Key: []byte("foo")}); err != nil {
			t.Error(err)
		}
		if r, err := watch.Recv(); err != nil || len(r.Events) != 1 {
			t.Errorf("the watch from before got %v, %v", r, err)
		}
	}
}

func TestCheckSaysAllThatIsWrongAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "cleatd.toml")
	write := writer(t, config)
	write("max-txn-ops = \"many\"\nnmae = \"x\"\n")
	data := []string{"--data-dir", filepath.Join(dir, "data")}
	printed, said, code := executed(t, []string{"CLEATD_RAFT_LOG=tape"}, append([]string{"check", "--config", config}, data...)...)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if code != 2 || printed != "" || len(lines) != 3 {
		t.Errorf("code %d, printed %q, said %q", code, printed, said)
	}
	for _, want := range []string{`:1: max-txn-ops: "many"`, `:2: unknown key "nmae"`, `variable CLEATD_RAFT_LOG: "tape"`} {
		if !regexp.MustCompile(`(?m)^cleatd: .*` + regexp.QuoteMeta(want)).MatchString(said) {
			t.Errorf("nothing says %s", want)
		}
	}
	write("max-txn-ops = 9\n")
	if printed, said, code = executed(t, nil, append([]string{"check", "--config", config}, data...)...); code != 0 || said != "" || printed == "" {
		t.Errorf("a good one: code %d, printed %q, said %q", code, printed, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

// A member that waits to be let in tells systemd so, which then waits too. SIGHUP
// does not end it, and SIGTERM is no failure.
func TestAStartThatWaitsIsPatientAndStoppable(t *testing.T) {
	dir := t.TempDir()
	one := start(t, filepath.Join(dir, "one"), nil, "--advertise", "127.0.0.1", "--listen-peer", "127.0.0.1:0", "--listen-ca", "127.0.0.1:0").ready()
	conn, err := grpc.NewClient("unix://"+one.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	invited, err := admin.NewAdminClient(conn).Invite(limited(t), new(admin.InviteRequest))
	if err != nil {
		t.Fatal(err)
	}
	writer(t, filepath.Join(dir, "cleatd.join-token"))(invited.Token + "\n")
	writer(t, filepath.Join(dir, "join"))("127.0.0.1:1\n")
	heard := listenNotify(t, filepath.Join(dir, "notify"))
	two := start(t, filepath.Join(dir, "two"), []string{
		"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "CREDENTIALS_DIRECTORY=" + dir,
	})
	two.await(`not let in yet.*join=127.0.0.1:1`)
	if err := two.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	heard.await("EXTEND_TIMEOUT_USEC=30000000\nWATCHDOG=1\nSTATUS=starting: waiting to be let in by 127.0.0.1:1: ")
	if code := two.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	heard.await("STOPPING=1")
}
