// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"github.com/cleatd/cleat/pki"
)

// patience is how long anything may take before it counts as failed.
const patience = 60 * time.Second

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

// trio is three members as real processes.
type trio struct {
	first     string         // the directory of the first member
	authority *pki.Authority // as the first member has it, without the others
	root      string         // the file with the root
	doors     [3]string      // where their ca doors are
	all       string         // where each connection goes to the next of them
}

var doorOf = regexp.MustCompile(`msg=ready .*ca=(\S+)`)

func startTrio(t *testing.T) *trio {
	t.Helper()
	// Not below t.TempDir, whose long names a socket's path has no room for.
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &trio{first: filepath.Join(dir, "0"), root: filepath.Join(dir, "root.pem")}
	invited := ""
	for i := range c.doors {
		home := filepath.Join(dir, fmt.Sprint(i))
		said := startMember(t, home, fmt.Sprint("m", i+1))
		if i == 0 {
			invited = ctl(t, home, "invite", "--uses=2")
		} else {
			ctl(t, home, strings.Fields(invited)[1:]...)
		}
		found := doorOf.FindAllStringSubmatch(said.String(), -1)
		c.doors[i] = found[len(found)-1][1]
	}
	c.authority = authorityOf(t, filepath.Join(dir, "0", "data", "pki"))
	if err := os.WriteFile(c.root, c.authority.Bundle(), 0o644); err != nil {
		t.Fatal(err)
	}
	c.all = inTurn(t, c.doors[:])
	return c
}

func startMember(t testing.TB, home, name string) *output {
	t.Helper()
	said := new(output)
	p := exec.Command(built(t, "bin/cleatd", "build"), "--name="+name, "--data-dir="+filepath.Join(home, "data"),
		"--socket="+filepath.Join(home, "s"), "--advertise=127.0.0.1", "--listen-client=127.0.0.1:0",
		"--listen-peer=127.0.0.1:0", "--listen-ca=127.0.0.1:0", "--acme-names=*.example.internal", "--acme-allow=127.0.0.0/8")
	p.Stdout, p.Stderr = said, said
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = p.Wait() // the state tells
		close(ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // gone already when it has failed
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said)
		}
	})
	eventually(t, name+" serves", func() error {
		select {
		case <-ended:
			t.Fatalf("%s ended: %v: %s", name, p.ProcessState, said)
		default:
		}
		if !strings.Contains(said.String(), "msg=ready") {
			return errors.New("not yet: " + said.String())
		}
		return nil
	})
	return said
}

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

func ctl(t testing.TB, home string, args ...string) string {
	t.Helper()
	c := exec.Command(built(t, "bin/cleatctl", "build"), append([]string{"--socket=" + filepath.Join(home, "s")}, args...)...)
	wrong := new(bytes.Buffer)
	c.Stderr = wrong
	text, err := c.Output()
	if err != nil {
		t.Fatalf("cleatctl %s: %v: %s", args[0], err, wrong)
	}
	return string(text)
}

// authorityOf opens the CA of a member a second time, to make tokens with it.
func authorityOf(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	own := filepath.Join(t.TempDir(), "pki")
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cluster.key", "ca.json", "member.pem"} {
		if err := os.Chmod(filepath.Join(own, file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := pki.Open(t.Context(), pki.Config{Dir: own, ClusterID: 1, MemberID: 1, Name: "m1", Offline: true, Ledger: elsewhere{}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// elsewhere is a ledger that nobody reaches from here.
type elsewhere struct{}

var errElsewhere = errors.New("the ledger is the members'")

func (elsewhere) Get(context.Context, string, []byte) ([]byte, error)      { return nil, errElsewhere }
func (elsewhere) List(context.Context, string, []byte) ([]pki.Item, error) { return nil, errElsewhere }
func (elsewhere) Commit(context.Context, []pki.Op) (bool, error)           { return false, errElsewhere }

// inTurn passes each connection on to the next of the addresses.
func inTurn(t *testing.T, addresses []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			to := addresses[n%len(addresses)]
			all.Go(func() { pass(ctx, c, to) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close() // nothing is lost with a listener
		all.Wait()
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

// pass copies both ways until one end is over.
func pass(ctx context.Context, c net.Conn, to string) {
	far, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		_ = c.Close() // which tells the client
		return
	}
	over := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // the ends notice
			over <- struct{}{}
		}()
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
	_, _ = c.Close(), far.Close() // one is over already
	<-over
}
