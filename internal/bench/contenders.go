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
	// command makes the process for a member whose address and dir are set.
	command func(*member) (*exec.Cmd, error)
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
	return []contender{
		{cleatTLS, cleatCommand(s), issueFrom(s)},
		{etcdTLS, etcdCommand(s, &made), trusted},
		{etcdPlain, etcdCommand(s, nil), nobody},
		{floorTLS, floorCommand(made), trusted},
	}, nil
}

func cleatCommand(s settings) func(*member) (*exec.Cmd, error) {
	return func(m *member) (*exec.Cmd, error) {
		return exec.Command(s.cleatd, "--name", "bench", "--data-dir", m.data(), "--socket", m.socket(),
			"--listen-client", m.address, "--log-level", "warn"), nil
	}
}

// issueFrom asks a running cleatd for a client's certificate, through its
// socket, as an administrator would.
func issueFrom(s settings) func(context.Context, *member) (*tls.Config, error) {
	return func(ctx context.Context, m *member) (*tls.Config, error) {
		dir := filepath.Join(m.dir, "client")
		issue := func() error {
			if _, err := os.Stat(m.socket()); err != nil {
				return err
			}
			said, err := exec.CommandContext(ctx, s.cleatctl, "--socket", m.socket(), "cert", "issue", "bench", "--out", dir).CombinedOutput()
			if err != nil {
				return fmt.Errorf("cleatctl cert issue: %w: %s", err, said)
			}
			return nil
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
		peer, err := freeAddress()
		if err != nil {
			return nil, err
		}
		scheme, secure := "http://", []string(nil)
		if c != nil {
			scheme = "https://"
			secure = []string{"--client-cert-auth", "--trusted-ca-file", c.authority, "--cert-file", c.certificate, "--key-file", c.key}
		}
		return exec.Command(s.etcd, append(secure,
			"--data-dir", m.data(), "--log-level", "error", "--quota-backend-bytes", "8589934592",
			"--listen-client-urls", scheme+m.address, "--advertise-client-urls", scheme+m.address,
			"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
			"--initial-cluster", "default=http://"+peer)...), nil
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
