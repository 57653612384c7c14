// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// A member is one contender's process on a directory of its own. close ends
// both, whatever happened before.
type member struct {
	contender
	dir     string
	address string      // of the client door
	peer    string      // of the peer door
	fellows cluster     // all members of its cluster, itself too
	tls     *tls.Config // nil: plaintext

	cmd  *exec.Cmd
	said bytes.Buffer  // stderr; read only after done is closed
	done chan struct{} // closed when the process has ended
}

// newMember makes the directory and the addresses of one that is not started.
func newMember(c contender, root string) (*member, error) {
	dir, err := os.MkdirTemp(root, c.name+"-")
	if err != nil {
		return nil, err
	}
	m := &member{contender: c, dir: dir}
	if m.address, err = freeAddress(); err == nil {
		m.peer, err = freeAddress()
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// start runs the process. It is in a process group of its own, so that an
// interrupt from the terminal reaches only the harness, which then ends it;
// and it dies with the harness if that is killed.
func (m *member) start() error {
	cmd, err := m.command(m)
	if err != nil {
		return err
	}
	m.said.Reset()
	cmd.Stderr = &m.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // How it ended tells nothing: it is ended by signals.
	}()
	m.cmd, m.done = cmd, done
	return nil
}

// answers waits for the first linearizable get to succeed.
func (m *member) answers(ctx context.Context) error {
	conn, err := m.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	return m.await(ctx, func() error {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("ready")})
		return err
	})
}

// await polls until ready returns nil. Nothing of a foreign process tells
// every contender's readiness in the same way, but asking does.
func (m *member) await(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-m.done:
			return fmt.Errorf("%w: %w", errExited, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// end sends the signal and waits for the process.
func (m *member) end(sig os.Signal) error {
	if err := m.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-m.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s still runs a minute after %v", m.name, sig)
	}
}

func (m *member) close() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill() // It may have ended already.
		<-m.done
	}
	_ = os.RemoveAll(m.dir) // The root goes, too, in the end.
}

// called is the member's name within its cluster.
func (m *member) called() string { return fmt.Sprintf("bench%d", slices.Index(m.fellows, m)) }

func (m *member) data() string   { return filepath.Join(m.dir, "data") }
func (m *member) socket() string { return filepath.Join(m.dir, "socket") }
func (m *member) pid() int       { return m.cmd.Process.Pid }

// dial makes a bare connection, which redials fast.
func (m *member) dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	secure := insecure.NewCredentials()
	if m.tls != nil {
		secure = grpccredentials.NewTLS(m.tls)
	}
	fast := backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1.2, MaxDelay: 10 * time.Millisecond}
	return grpc.NewClient(m.address, append(options,
		grpc.WithTransportCredentials(secure),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: fast, MinConnectTimeout: patience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
}

// client makes one connection of etcd's own client. Its warnings repeat the
// errors that it returns.
func (m *member) client(ctx context.Context) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{m.address}, TLS: m.tls, Logger: zap.NewNop()})
}
