// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
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

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestMain lets the test binary be cleatd: started with CLEAT_TEST_MAIN=1 it
// runs main and nothing else, so the tests below meet the real process. With
// CLEAT_TEST_CALL it is a caller of that socket.
func TestMain(m *testing.M) {
	if path := os.Getenv("CLEAT_TEST_CALL"); path != "" {
		callSocket(path)
		return
	}
	if os.Getenv("CLEAT_TEST_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait: it is generous, and no test asserts a time.
const patience = 60 * time.Second

// process is a running cleatd with its standard error.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	socket string

	mu     sync.Mutex
	stderr bytes.Buffer  // guarded by mu
	lines  chan struct{} // gets a token when stderr has grown
	exited chan struct{} // closed when the process is gone and stderr complete
}

// start runs cleatd on a new directory, or on dir.
func start(t *testing.T, dir string, environ []string, args ...string) *process {
	t.Helper()
	args = append([]string{
		"--data-dir", filepath.Join(dir, "data"), "--socket", filepath.Join(dir, "cleat.sock"),
		"--listen-client", "127.0.0.1:0", "--name", "test",
	}, args...)
	p := launch(t, environ, os.Args[0], args...)
	p.socket = filepath.Join(dir, "cleat.sock")
	return p
}

func launch(t *testing.T, environ []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, lines: make(chan struct{}, 1), exited: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = append(append(os.Environ(), "CLEAT_TEST_MAIN=1"), environ...)
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(pipe)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // gone already when all went well
		<-p.exited
		if t.Failed() {
			t.Logf("cleatd said:\n%s", p.said())
		}
	})
	return p
}

func (p *process) read(pipe io.Reader) {
	defer close(p.exited)
	in := bufio.NewReader(pipe)
	for {
		line, err := in.ReadString('\n')
		p.mu.Lock()
		p.stderr.WriteString(line)
		p.mu.Unlock()
		select {
		case p.lines <- struct{}{}:
		default:
		}
		if err != nil {
			_ = p.cmd.Wait() // the code is in ProcessState
			return
		}
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// await returns the first match of pattern on standard error.
func (p *process) await(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		if m := re.FindStringSubmatch(p.said()); m != nil {
			return m
		}
		select {
		case <-p.lines:
		case <-p.exited:
			if m := re.FindStringSubmatch(p.said()); m != nil {
				return m
			}
			p.t.Fatalf("cleatd ended without saying %q", pattern)
		case <-limit:
			p.t.Fatalf("cleatd does not say %q", pattern)
		}
	}
}

func (p *process) ready() *process {
	p.t.Helper()
	p.await(`msg=ready`)
	return p
}

// end sends a signal and returns the exit code.
func (p *process) end(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p.code()
}

func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatal("cleatd does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) client() *clientv3.Client {
	p.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + p.socket}, DialTimeout: patience})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// SIGABRT is the watchdog's. What crashes has no exit code, and above all not
// the one that keeps systemd from starting it again.
func TestACrashIsNoExitCode(t *testing.T) {
	p := start(t, t.TempDir(), nil).ready()
	if code := p.end(syscall.SIGABRT); code != -1 {
		t.Errorf("exit code %d", code)
	}
	p.await(`SIGABRT: abort[^$]*goroutine 1 `)
}

func TestASignalEndsTheDaemonInOrderAndNothingIsLost(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil).ready()
	if _, err := p.client().Put(limited(t), "foo", "bar"); err != nil {
		t.Fatal(err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if _, err := os.Stat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	again := start(t, dir, nil).ready()
	r, err := again.client().Get(limited(t), "foo")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "bar" || r.Header.Revision != 2 {
		t.Errorf("after a restart: %+v %v", r, err)
	}
}

func TestMistakesOfTheAdministratorExitWithTwoAndOneLine(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("data-dri = \"/x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := start(t, filepath.Join(dir, "running"), nil).ready()
	busy := running.await(`client=(\S+)`)[1]
	start(t, filepath.Join(dir, "stopped"), nil).ready().end(syscall.SIGTERM)
	stopped, newer := filepath.Join(dir, "stopped", "data"), filepath.Join(dir, "newer")
	copyAsFormat(t, stopped, newer, "99")
	for name, c := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"an unknown key":     {args: []string{"--config", bad}, want: `unknown key "data-dri"`},
		"a missing file":     {args: []string{"--config", bad + "x"}, want: "no such file"},
		"an unknown flag":    {args: []string{"--nmae", "x"}, want: "nmae"},
		"an argument":        {args: []string{"start"}, want: `unexpected argument "start"`},
		"a bad value":        {args: []string{"--max-txn-ops", "many"}, want: "max-txn-ops"},
		"a bad variable":     {env: []string{"CLEATD_RAFT_LOG=tape"}, want: `variable CLEATD_RAFT_LOG: "tape" is neither wal nor boltdb`},
		"a directory in use": {args: []string{"--data-dir", filepath.Join(dir, "running", "data")}, want: "in use by another process"},
		"a newer directory":  {args: []string{"--data-dir", newer}, want: newer + " has format 99, this cleatd knows 1: install a newer cleatd"},
		"another raft log": {args: []string{"--data-dir", stopped, "--raft-log", "boltdb"},
			want: stopped + ` was made with raft-log = "wal", the setting is "boltdb": change the setting back`},
		"a port in use":   {args: []string{"--listen-client", busy}, want: "address already in use"},
		"a socket in use": {args: []string{"--socket", running.socket}, want: "another process answers"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, filepath.Join(t.TempDir(), "d"), c.env, c.args...)
			if got := p.code(); got != 2 {
				t.Errorf("exit code %d, want 2", got)
			}
			// A first start has made its directory by then, and says so.
			said := regexp.MustCompile(`^time=\S+ level=INFO msg="new data directory" .*\n`).ReplaceAllString(p.said(), "")
			if !strings.HasPrefix(said, "cleatd: ") || !strings.Contains(said, c.want) ||
				strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
				t.Errorf("it said %q, want one line with %q", said, c.want)
			}
		})
	}
	start(t, filepath.Join(dir, "stopped"), nil).ready() // the refusals left it as it was
}

// copyAsFormat copies a data directory and gives the copy another format.
func copyAsFormat(t *testing.T, from, to, format string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(to, "member.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = regexp.MustCompile(`"format": \d+`).ReplaceAll(raw, []byte(`"format": `+format))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSystemdHearsReadinessWatchdogReloadAndStop(t *testing.T) {
	dir := t.TempDir()
	heard := listenNotify(t, filepath.Join(dir, "notify"))
	config := filepath.Join(dir, "cleatd.toml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("log-level = \"info\"\n")
	p := start(t, dir, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=200000"}, "--config", config)
	heard.await("READY=1\nSTATUS=leader of cluster ")
	heard.await("WATCHDOG=1")

	write("log-level = \"debug\"\nelection-timeout = \"7s\"\n")
	signal := func() {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	heard.await("RELOADING=1\nMONOTONIC_USEC=")
	heard.await("READY=1")
	p.await(`msg=reloaded.*DEBUG`)
	p.await(`changes with the next start only.*setting=election-timeout old=500ms new=7s`)

	write("log-level = \"loud\"\n")
	signal()
	p.await(`the new configuration is refused.*loud`)
	if _, err := p.client().Put(limited(t), "foo", "bar"); err != nil {
		t.Errorf("after a refused reload: %v", err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	heard.await("STOPPING=1")
}

// notifySocket is systemd's end of the notification socket.
type notifySocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenNotify(t *testing.T, path string) *notifySocket {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &notifySocket{t, conn}
}

// await reads messages until one holds want.
func (n *notifySocket) await(want string) {
	n.t.Helper()
	if err := n.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	seen := ""
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			n.t.Fatalf("systemd did not hear %q: %v; it heard %q", want, err, seen)
		}
		if seen += string(buf[:size]) + "|"; strings.Contains(string(buf[:size]), want) {
			return
		}
	}
}

// activate starts cleatd as systemd does when somebody connects to socket.
func activate(t *testing.T, dir, names string, listen ...string) *process {
	t.Helper()
	if _, err := exec.LookPath("systemd-socket-activate"); err != nil && os.Geteuid() != 0 {
		t.Skip("there is no systemd-socket-activate: apt-get install systemd") // as root `make test` has installed it
	}
	args := []string{"--fdname=" + names, "--setenv=CLEAT_TEST_MAIN"}
	for _, l := range listen {
		args = append(args, "-l", l)
	}
	args = append(args, os.Args[0], "--data-dir", filepath.Join(dir, "data"), "--socket", filepath.Join(dir, "own.sock"))
	p := launch(t, nil, "systemd-socket-activate", args...)
	p.socket = listen[0]
	p.await("Listening on " + regexp.QuoteMeta(listen[len(listen)-1]))
	caller, err := net.Dial("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caller.Close() })
	return p
}

func TestAnInheritedSocketOfAnUnknownNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := activate(t, dir, "cellar", filepath.Join(dir, "s.sock"))
	p.await(`inherited socket "cellar"`)
	if got := p.code(); got != 2 {
		t.Errorf("exit code %d, want 2", got)
	}
}

func TestInheritedSocketsAreServed(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "inherited.sock")
	address := freeAddress(t)
	p := activate(t, dir, "socket:client", socket, address).ready()
	p.await(`client=` + regexp.QuoteMeta(address))
	if _, err := p.client().Put(limited(t), "foo", "bar"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "own.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a socket of its own beside the inherited one: %v", err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the inherited socket is gone: %v", err)
	}
}

// One unit gives all of its sockets the same name, and the order tells them
// apart. A member with a peer door from the start can take in others.
func TestOneUnitMayHoldAllDoorsToTheNetwork(t *testing.T) {
	dir := t.TempDir()
	client, peer := freeAddress(t), freeAddress(t)
	p := activate(t, dir, "socket:net:net", filepath.Join(dir, "s.sock"), client, peer).ready()
	p.await(`peer=` + regexp.QuoteMeta(peer) + ` .*client=` + regexp.QuoteMeta(client))
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	ca := freeAddress(t)
	three := activate(t, dir, "socket:net:net:net", filepath.Join(dir, "t.sock"), client, peer, ca).ready()
	three.await(`peer=` + regexp.QuoteMeta(peer) + ` .*ca=` + regexp.QuoteMeta(ca) + ` .*client=` + regexp.QuoteMeta(client))
	if code := three.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	four := activate(t, dir, "socket:net:net:net:net", filepath.Join(dir, "u.sock"), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t))
	four.await(`4 inherited sockets are called "net": want the client door, the peer door and the ca door`)
	if code := four.code(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
}

// freeAddress is one that nobody listens on: systemd's tool takes no port 0.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

func TestAMemberOfAnotherClustersStateIsRefused(t *testing.T) {
	dir := t.TempDir()
	if code := start(t, dir, nil).ready().end(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	path := filepath.Join(dir, "data", "member.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`"cluster_id": "[0-9a-f]+"`).ReplaceAll(raw, []byte(`"cluster_id": "00000000000000aa"`))
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, nil)
	if got := p.code(); got != 2 {
		t.Errorf("exit code %d, want 2", got)
	}
	p.await(`member.json names cluster 00000000000000aa, the state belongs to cluster`)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, nil).ready()
}

func TestALogThatIsGoneIsNeverReplacedSilently(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil).ready()
	if _, err := p.client().Put(limited(t), "foo", "bar"); err != nil {
		t.Fatal(err)
	}
	p.end(syscall.SIGTERM)
	if err := os.RemoveAll(filepath.Join(dir, "data", "raft")); err != nil {
		t.Fatal(err)
	}
	p = start(t, dir, nil)
	if got := p.code(); got == 0 || got == -1 {
		t.Errorf("exit code %d beside a state without a log", got)
	}
	if said := p.said(); !strings.Contains(said, "raft") {
		t.Errorf("the message does not name the log: %s", said)
	}
}
