// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// choose runs a command line up to the choice of the door.
func choose(t *testing.T, line ...string) (door, error) {
	t.Helper()
	var way door
	var err error
	app := newApp(nil, io.Discard, io.Discard)
	for _, command := range app.Commands {
		command.Action = func(c *cli.Context) error { way, err = chooseDoor(c); return nil }
	}
	arranged, arrangeErr := arrange(app, append([]string{"cleatctl", "get", "k"}, line...))
	if arrangeErr != nil {
		t.Fatal(arrangeErr)
	}
	if runErr := app.Run(arranged); runErr != nil {
		t.Fatal(runErr)
	}
	return way, err
}

func TestTheDoorNamedMostStronglyIsTaken(t *testing.T) {
	t.Setenv("ETCDCTL_ENDPOINTS", "etcd:2379, etcd:2380")
	if way, err := choose(t); err != nil || strings.Join(way.endpoints, " ") != "etcd:2379 etcd:2380" || way.socket != "" {
		t.Errorf("ETCDCTL_ENDPOINTS alone: got %+v, %v", way, err)
	}
	t.Setenv("CLEATCTL_SOCKET", "/ours.sock")
	if way, err := choose(t); err != nil || way.socket != "/ours.sock" || way.endpoints[0] != "unix:///ours.sock" {
		t.Errorf("with CLEATCTL_SOCKET: got %+v, %v", way, err)
	}
	if way, err := choose(t, "--endpoints", "line:1"); err != nil || way.socket != "" || way.endpoints[0] != "line:1" {
		t.Errorf("with --endpoints: got %+v, %v", way, err)
	}
	if way, err := choose(t, "--socket=/line.sock"); err != nil || way.socket != "/line.sock" {
		t.Errorf("with --socket: got %+v, %v", way, err)
	}
	t.Setenv("CLEATCTL_ENDPOINTS", "ours:1")
	if way, err := choose(t); err == nil {
		t.Errorf("with both variables of ours: got %+v, want a refusal", way)
	}
}

func TestASocketGivenAsEndpointIsASocket(t *testing.T) {
	way, err := choose(t, "--endpoints=unix:///a/b.sock")
	if err != nil || way.socket != "/a/b.sock" {
		t.Fatalf("got %+v, %v", way, err)
	}
}

func TestOurVariablesAreStrongerThanEtcdsAndALineThanBoth(t *testing.T) {
	t.Setenv("ETCDCTL_WRITE_OUT", "json")
	t.Setenv("ETCDCTL_DIAL_TIMEOUT", "1m")
	t.Setenv("CLEATCTL_WRITE_OUT", "fields")
	t.Setenv("CLEATCTL_HEX", "true")
	t.Setenv("ETCDCTL_HEX", "")
	var got []string
	app := newApp(nil, io.Discard, io.Discard)
	for _, command := range app.Commands {
		command.Action = func(c *cli.Context) error {
			got = append(got, c.String("write-out"), c.Duration("dial-timeout").String(), c.String("hex"))
			return nil
		}
	}
	for _, line := range [][]string{{"cleatctl", "get"}, {"cleatctl", "--write-out=simple", "--hex=false", "get"}} {
		if err := app.Run(line); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(got, " ") != "fields 1m0s true simple 1m0s false" {
		t.Fatalf("got %s", got)
	}
}

func TestABadVariableIsNamed(t *testing.T) {
	t.Setenv("ETCDCTL_DIAL_TIMEOUT", "soon")
	code, _, stderr := cleatctl(t, "get", "a")
	if code != exitMisused || !strings.Contains(stderr, `ETCDCTL_DIAL_TIMEOUT="soon" is no value for --dial-timeout`) {
		t.Fatalf("exit code %d, stderr %s", code, stderr)
	}
}

// cleatctl runs a command line with an empty standard input.
func cleatctl(t *testing.T, line ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = Main(append([]string{"cleatctl"}, line...), strings.NewReader(""), &out, &talk)
	return code, out.String(), talk.String()
}

func TestEachWayASocketFailsSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()

	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none.sock"), "there is no socket " + filepath.Join(dir, "none.sock") + ": start the member with systemctl start cleatd"},
		{dead, "nobody listens on " + dead + ": the member is down"},
	} {
		code, stdout, stderr := cleatctl(t, "get", "a", "--socket", c.path)
		if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "cleatctl: "+c.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", c.path, code, stdout, stderr)
		}
	}
}

func TestASocketOfOthersSaysWhichGroupToJoin(t *testing.T) {
	path := (&office{}).open(t)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	// Root is never refused: as whom the tests may run, touch files as nobody.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, _ := unix.SetfsuidRetUid(65534)
	code, _, stderr := cleatctl(t, "get", "k", "--socket", path)
	_, _ = unix.SetfsuidRetUid(before)
	want := "cleatctl: permission denied on " + path + ": run as root or join group cleat: usermod -aG cleat $USER, then log in again\n"
	if code != exitFailed || stderr != want {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
}

func TestTheSocketIsLookedForInTheSystemsPlaceThenInTheUsers(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	if got := socketPaths(); len(got) != 2 || got[0] != "/run/cleat/cleat.sock" || got[1] != "/run/user/7/cleat/cleat.sock" {
		t.Fatalf("got %q", got)
	}
	second := filepath.Join(t.TempDir(), "cleat.sock")
	if err := os.WriteFile(second, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, ok := findSocket([]string{"/nowhere/cleat.sock", second}); !ok || got != second {
		t.Errorf("got %q, %v", got, ok)
	}
	if got, ok := findSocket([]string{"/nowhere/a", "/nowhere/b"}); ok {
		t.Errorf("got %q", got)
	}
}

// Where no member can run, nobody is told to start one.
func TestWithoutASocketTheWayThatThereIsIsNamed(t *testing.T) {
	for _, c := range []struct{ system, only, want string }{
		{"linux", "", "there is no /nowhere/a and no /nowhere/b: start one with systemctl start cleatd"},
		{"linux", "invite", "start one with systemctl start cleatd"},
		{"darwin", "", "members run on Linux: name one with --endpoints HOST:PORT"},
		{"windows", "invite", "invite speaks to the socket of a member, and members run on Linux: run it there"},
	} {
		if got := noMember(c.system, []string{"/nowhere/a", "/nowhere/b"}, c.only); !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s, %q: %v", c.system, c.only, got)
		}
	}
}

func TestAnAddressThatNobodyListensOnIsTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	code, _, stderr := cleatctl(t, "get", "a", "--endpoints", address, "--dial-timeout=100ms")
	if code != exitFailed || !strings.Contains(stderr, "connect to "+address) || !strings.Contains(stderr, "connection refused") {
		t.Fatalf("exit code %d, stderr %s", code, stderr)
	}
}
