// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

// dialSocket connects now, to tell at once what is wrong, and returns a dialer
// that hands out this connection first and dials again after.
func dialSocket(path string, c *cli.Context) (func(context.Context, string) (net.Conn, error), error) {
	first, err := net.DialTimeout("unix", path, c.Duration("dial-timeout"))
	if err != nil {
		return nil, explainSocket(path, err)
	}
	ready := make(chan net.Conn, 1)
	ready <- first
	return func(ctx context.Context, _ string) (net.Conn, error) {
		select {
		case conn := <-ready:
			return conn, nil
		default:
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}, nil
}

// probeSocket says whether anybody listens on a socket.
func probeSocket(ctx context.Context, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it was let in, that is all
	}
	return err
}

// explainSocket says what keeps a person from a socket, and the way in.
func explainSocket(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied on %s: run as root or join group cleat: usermod -aG cleat $USER, then log in again", path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no socket %s: start the member with systemctl start cleatd (journalctl -u cleatd tells why it stopped, if it did), or name its socket with --socket", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens on %s: the member is down: systemctl start cleatd, and journalctl -u cleatd tells why it stopped", path)
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}

// explain says why no member was reached. The client hides it, so the way is
// gone once more, step by step.
func (d door) explain(c *cli.Context, err error) error {
	if d.socket != "" {
		if err := probeSocket(c.Context, d.socket); err != nil {
			return explainSocket(d.socket, err)
		}
		return fmt.Errorf("the member behind %s takes connections but does not answer: journalctl -u cleatd may tell why", d.socket)
	}
	var all []error
	for _, endpoint := range d.endpoints {
		all = append(all, fmt.Errorf("connect to %s: %w", endpoint, d.probe(c, endpoint, err)))
	}
	return errors.Join(all...)
}

func (d door) probe(c *cli.Context, endpoint string, otherwise error) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("dial-timeout"))
	defer cancel()
	network, address := whereTo(endpoint)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("%w: does the member run, and listen there? On it, cleatctl status shows its doors", err)
	}
	defer conn.Close()
	if d.files == (client.Config{}) && !d.trust.blind && strings.HasPrefix(endpoint, "https://") {
		return errors.New("a cleat member asks for --cacert, --cert and --key, which cleatctl cert issue NAME makes on it")
	}
	if !d.secured(endpoint) {
		return errors.New("no answer in plain text: a cleat member asks for --cacert, --cert and --key, which cleatctl cert issue NAME makes on it")
	}
	config, err := d.tls()
	if err != nil {
		return err
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	config.NextProtos = []string{"h2"}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return d.explainTLS(err)
	}
	// With TLS 1.3 the member's verdict on our certificate comes after the
	// handshake; grpc servers speak first.
	_ = secure.SetReadDeadline(time.Now().Add(c.Duration("dial-timeout")))
	if _, err := secure.Read(make([]byte, 1)); err != nil {
		return d.explainTLS(err)
	}
	return otherwise
}

// whereTo is an endpoint as Go's dialer takes it.
func whereTo(endpoint string) (network, address string) {
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		return "unix", path
	}
	if parsed, err := url.Parse(endpoint); err == nil && parsed.Host != "" {
		return "tcp", parsed.Host
	}
	return "tcp", endpoint
}

func (d door) explainTLS(err error) error {
	var alert *net.OpError
	switch refused := errors.As(err, &alert) && alert.Op == "remote error"; {
	case d.context == "":
		return explainTLS(err)
	case refused:
		return fmt.Errorf("the member refuses the certificate of context %s (%w): log in again: %s", d.context, err, loginLine)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w: context %s is not of this member's cluster, or of before its root was replaced: log in again: %s", err, d.context, loginLine)
	}
	return explainTLS(err)
}

func explainTLS(err error) error {
	var alert *net.OpError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w: --cacert is not the bundle of this member's CA; cleatctl cert issue writes the present one", err)
	case errors.As(err, new(x509.HostnameError)):
		return fmt.Errorf("%w: use a name or address that the member's certificate holds", err)
	case errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Error(), "certificate required"):
		return fmt.Errorf("%w: show one with --cert and --key", err)
	case errors.As(err, &alert) && alert.Op == "remote error":
		return fmt.Errorf("the member refuses the certificate (%w): issue a new one with cleatctl cert issue NAME", err)
	}
	return err
}
