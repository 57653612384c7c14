// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAKilledMemberComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		m.run("systemctl", "kill", "--signal=KILL", "cleatd.service")
		m.await("cleatd.service", "NRestarts", "1")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
	})
}

// The program here hangs when it applies this key for somebody who waits for
// the answer. Apart from that it is what the package has.
func TestAMemberThatHangsIsRestartedByTheWatchdog(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.bring(filepath.Join(spare, "broken_apply"))
		m.put("/etc/systemd/system/cleatd.service.d/lab.conf",
			"[Service]\nExecStart=\nExecStart=/usr/local/bin/broken_apply --config /etc/cleat/cleatd.toml\nWatchdogSec=1s\n")
		m.sh("mv broken_apply /usr/local/bin && systemctl daemon-reload")
		m.run("cleatctl", "put", "foo", "bar")
		m.refuse("cleatctl", "put", "broken_apply", "is put all the same")
		m.await("cleatd.service", "NRestarts", "1")
		if said := m.run("cleatctl", "get", "--prefix", "", "--print-value-only"); said != "is put all the same\nbar" {
			t.Errorf("afterwards there is %q", said)
		}
		want(t, m.journal("-u", "cleatd"), "the watchdog is not fed")
		want(t, m.journal("-u", "cleatd"), "Watchdog timeout")
	})
}

// The first call waits for a member that takes longer to start than dialing may
// take elsewhere.
func TestTheFirstCallWaitsForASlowStart(t *testing.T) {
	m := boot(t, trixie, "alone") // who waits is cleatctl
	m.dpkg(newest)
	m.put("/etc/systemd/system/cleatd.service.d/lab.conf", "[Service]\nExecStartPre=sleep 4\n")
	m.run("systemctl", "daemon-reload")
	if said := m.run("cleatctl", "put", "foo", "bar"); said != "OK" {
		t.Errorf("the first put said %q", said)
	}
}

// What only a person can mend is not tried again and again, and whoever looks
// finds the reason where he looks first.
func TestAStartThatCannotSucceedEndsWithItsReason(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		m.sh("echo 'quota = 7' >> /etc/cleat/cleatd.toml")
		m.refuse("systemctl", "restart", "cleatd.service")
		if state := m.property("cleatd.service", "ActiveState") + " " + m.property("cleatd.service", "ExecMainStatus"); state != "failed 2" {
			t.Errorf("cleatd is %s", state)
		}
		want(t, m.refuse("cleatctl", "get", "foo"), "journalctl -u cleatd") // a call tries, a few times
		starts := strings.Count(m.journal("-u", "cleatd.service"), "Starting cleatd.service")
		if restarts := m.property("cleatd.service", "NRestarts"); restarts != "0" || starts > 7 {
			t.Errorf("%s restarts, %d starts", restarts, starts)
		}
		last := m.journal("-t", "cleatd", "-n", "1")
		want(t, last, "quota")
		want(t, last, "/etc/cleat/cleatd.toml")

		m.sh("sed -i '$d' /etc/cleat/cleatd.toml && systemctl reset-failed cleatd.service cleatd.socket && systemctl start cleatd.socket")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("mended: %q", said)
		}
	})
}

// Both sockets are systemd's: who comes while the service is away waits, and is
// answered by the next one. That holds for as many at once as wait in a
// backlog, which is thousands. Whom the old one has let in already, it may send
// away without an answer; they come again, as every client does.
func TestNobodyIsRefusedWhileTheServiceRestarts(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.sh("systemctl enable --now cleatd-net.socket")
		m.run("cleatctl", "put", "foo", "bar")
		var callers sync.WaitGroup
		var answers, sentAway atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		for name, call := range map[string]func(context.Context, *machine) error{"the Unix socket": askHealth, "the client door": shakeHands} {
			for range 4 {
				callers.Go(func() {
					for ctx.Err() == nil {
						err := call(within(t), m)
						if refused := new(net.OpError); errors.As(err, &refused) && refused.Op == "dial" {
							t.Errorf("%s: %v", name, err)
							return
						}
						if err != nil {
							sentAway.Add(1)
							continue
						}
						answers.Add(1)
					}
				})
			}
		}
		for range 3 {
			before := answers.Load()
			m.run("systemctl", "restart", "cleatd.service")
			eventually(t, "callers are answered", func() error {
				if n := answers.Load() - before; n < 100 {
					return fmt.Errorf("%d calls", n)
				}
				return nil
			})
		}
		stop()
		callers.Wait()
		t.Logf("%d answers; %d came again", answers.Load(), sentAway.Load())
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
	})
}

// askHealth makes a connection to the socket, for one question.
func askHealth(ctx context.Context, m *machine) error {
	conn, err := m.dialUnix(ctx, "/run/cleat/cleat.sock")
	if err != nil {
		return err
	}
	defer conn.Close()
	late, _ := ctx.Deadline()
	if err := conn.SetDeadline(late); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: cleat\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}

// shakeHands makes a connection to the client door, until the member has shown
// who it is.
func shakeHands(ctx context.Context, m *machine) error {
	conn, err := m.dialTCP(ctx, "127.0.0.1:2379")
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) // whether it answers is asked, not who
}
