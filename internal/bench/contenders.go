// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The contenders' names, as they stand in the tables.
const (
	cleatTLS  = "cleat-mtls"
	etcdTLS   = "etcd-mtls"
	etcdPlain = "etcd-plain"
	floorTLS  = "floor"
)

// A contender is a way to start a server.
type contender struct {
	name string
	// command makes the process for a member whose addresses, dir and fellows
	// are set.
	command func(*member) (*exec.Cmd, error)
	// gather starts the members and makes one cluster of them.
	gather func(context.Context, cluster) error
	// trust returns the client's side of TLS, nil for plaintext. The member's
	// process runs by then.
	trust func(context.Context, *member) (*tls.Config, error)
}

func contenders(s settings, root string) ([]contender, error) {
	made, err := makeCredentials(filepath.Join(root, "credentials"))
	if err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	client, err := made.load()
	if err != nil {
		return nil, err
	}
	trusted := func(context.Context, *member) (*tls.Config, error) { return client, nil }
	nobody := func(context.Context, *member) (*tls.Config, error) { return nil, nil }
	all := []contender{
		{cleatTLS, cleatCommand(s), joining(s), issueFrom(s)},
		{etcdTLS, etcdCommand(s, &made), together, trusted},
	}
	if s.members > 1 { // plaintext and the floor say what one member could gain
		return all, nil
	}
	return append(all,
		contender{etcdPlain, etcdCommand(s, nil), together, nobody},
		contender{floorTLS, floorCommand(made), together, trusted}), nil
}

func cleatCommand(s settings) func(*member) (*exec.Cmd, error) {
	return func(m *member) (*exec.Cmd, error) {
		args := []string{"--name", m.called(), "--data-dir", m.data(), "--socket", m.socket(),
			"--listen-client", m.address, "--log-level", "warn"}
		if len(m.fellows) > 1 {
			args = append(args, "--listen-peer", m.peer, "--listen-ca", "127.0.0.1:0", "--advertise", "127.0.0.1")
		}
		return exec.Command(s.cleatd, args...), nil
	}
}

// issueFrom asks a running cleatd for a client's certificate, through its
// socket, as an administrator would.
func issueFrom(s settings) func(context.Context, *member) (*tls.Config, error) {
	return func(ctx context.Context, m *member) (*tls.Config, error) {
		dir := filepath.Join(m.dir, "client")
		issue := func() error {
			_, err := m.ctl(ctx, s, "cert", "issue", "bench", "--out", dir)
			return err
		}
		if err := m.await(ctx, issue); err != nil {
			return nil, err
		}
		return credentials{
			authority:   filepath.Join(dir, "ca.crt"),
			certificate: filepath.Join(dir, "bench.crt"),
			key:         filepath.Join(dir, "bench.key"),
		}.load()
	}
}

// etcdCommand serves plaintext without credentials. The quota is lifted
// because cleat's is the disk; all else is etcd's default.
func etcdCommand(s settings, c *credentials) func(*member) (*exec.Cmd, error) {
	return func(m *member) (*exec.Cmd, error) {
		scheme, secure := "http://", []string(nil)
		if c != nil {
			scheme = "https://"
			secure = []string{
				"--client-cert-auth", "--trusted-ca-file", c.authority, "--cert-file", c.certificate, "--key-file", c.key,
				"--peer-client-cert-auth", "--peer-trusted-ca-file", c.authority, "--peer-cert-file", c.certificate, "--peer-key-file", c.key,
			}
		}
		var everyone []string
		for _, each := range m.fellows {
			everyone = append(everyone, each.called()+"="+scheme+each.peer)
		}
		return exec.Command(s.etcd, append(secure,
			"--name", m.called(), "--data-dir", m.data(), "--log-level", "error", "--quota-backend-bytes", "8589934592",
			"--listen-client-urls", scheme+m.address, "--advertise-client-urls", scheme+m.address,
			"--listen-peer-urls", scheme+m.peer, "--initial-advertise-peer-urls", scheme+m.peer,
			"--initial-cluster", strings.Join(everyone, ","))...), nil
	}
}

func floorCommand(c credentials) func(*member) (*exec.Cmd, error) {
	return func(m *member) (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(self, m.address, c.authority, c.certificate, c.key)
		cmd.Env = append(os.Environ(), floorVariable+"=1")
		return cmd, nil
	}
}

// freeAddress names a loopback port that nobody listens on just now. Both
// programs need to be told one: a restart must come back at the same.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// patience bounds each wait for a contender.
const patience = time.Minute

var errExited = errors.New("the process has ended")
