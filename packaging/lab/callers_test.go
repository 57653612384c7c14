// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// The sockets are systemd's: who comes while the service is away waits, and is
// answered by the next one; whom the old one has let in, it answers before it goes.
// So programs that make a connection for each question never notice. That holds
// for as many at once as wait in a backlog, which is thousands.
func TestNobodyIsRefusedOrCutOffWhileTheServiceRestarts(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.sh("systemctl enable --now cleatd-net.socket; cleatctl put foo bar; cleatctl cert issue app --out app")
		bundle := trust(t, m, "app")
		bundle.ServerName = "localhost"
		kinds := map[string]func(context.Context, *caller) error{
			"HTTP at the socket":      askSocket,
			"HTTP at the client door": func(ctx context.Context, c *caller) error { return askNetwork(ctx, c, bundle) },
			"gRPC at the socket":      func(ctx context.Context, c *caller) error { return get(ctx, c.unix, insecure.NewCredentials()) },
			"gRPC at the client door": func(ctx context.Context, c *caller) error { return get(ctx, c.tcp, credentials.NewTLS(bundle)) },
		}
		var callers sync.WaitGroup
		var answers, late atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		for name, call := range kinds {
			for range 2 {
				callers.Go(func() {
					for ctx.Err() == nil {
						c := &caller{machine: m}
						switch err := call(within(t), c); {
						case err == nil:
							answers.Add(1)
						case c.slow():
							late.Add(1)
						default:
							t.Errorf("%s: %v", name, err)
							return
						}
					}
				})
			}
		}
		for range 3 {
			before := answers.Load()
			m.run("systemctl", "restart", "cleatd.service")
			eventually(t, "callers are answered", func() error {
				if n := answers.Load() - before; n < 100 && !t.Failed() {
					return fmt.Errorf("%d calls", n)
				}
				return nil
			})
		}
		stop()
		callers.Wait()
		t.Logf("%d answers; %d did not get to their question in time", answers.Load(), late.Load())
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
	})
}

// caller makes connections to a machine, and notes how long each waits for its own
// next word: a member that stops waits for nobody who says nothing, which a program
// that this host does not let run looks like.
type caller struct {
	machine *machine
	waited  atomic.Int64 // nanoseconds, the longest
}

// silence is what a stopping member grants, for certain.
const silence = 200 * time.Millisecond

func (c *caller) slow() bool { return time.Duration(c.waited.Load()) > silence }

func (c *caller) unix(ctx context.Context, _ string) (net.Conn, error) {
	return c.heard(c.machine.dialUnix(ctx, "/run/cleat/cleat.sock"))
}

func (c *caller) tcp(ctx context.Context, _ string) (net.Conn, error) {
	return c.heard(c.machine.dialTCP(ctx, "127.0.0.1:2379"))
}

func (c *caller) heard(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	talk := &talk{Conn: conn, caller: c}
	talk.turn.Store(time.Now().UnixNano())
	return talk, nil
}

// talk is a caller's connection.
type talk struct {
	net.Conn
	caller *caller
	turn   atomic.Int64 // since when the caller is expected to say something, in the clock's nanoseconds; zero: it is not
}

func (c *talk) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.turn.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *talk) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	turn := c.turn.Swap(0)
	if waited := time.Now().UnixNano() - turn; turn > 0 && waited > c.caller.waited.Load() {
		c.caller.waited.Store(waited) // one of two that write at once may be lost, which excuses nobody
	}
	return n, err
}

// askSocket makes a connection to the socket, for one question.
func askSocket(ctx context.Context, c *caller) error {
	conn, err := c.unix(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	return askHealth(ctx, conn)
}

// askNetwork makes one to the client door.
func askNetwork(ctx context.Context, c *caller, bundle *tls.Config) error {
	raw, err := c.tcp(ctx, "")
	if err != nil {
		return err
	}
	defer raw.Close()
	conn := tls.Client(raw, bundle)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	return askHealth(ctx, conn)
}

func askHealth(ctx context.Context, conn net.Conn) error {
	until, _ := ctx.Deadline()
	if err := conn.SetDeadline(until); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: cleat\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if len(answer) < 13 || string(answer[:13]) != "HTTP/1.1 200 " {
		return errors.Join(err, fmt.Errorf("answered %q", answer))
	}
	return nil
}

// get makes a connection for one call, which is not repeated.
func get(ctx context.Context, dial func(context.Context, string) (net.Conn, error), how credentials.TransportCredentials) error {
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(how),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: patience}))
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("foo")})
	if err == nil && len(r.Kvs) != 1 {
		err = fmt.Errorf("found %v", r.Kvs)
	}
	return err
}
