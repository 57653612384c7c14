// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/client"
)

// door is the way to a member: its Unix socket, or addresses on the network.
type door struct {
	socket    string // empty: over the network
	endpoints []string
	files     client.Config
}

// chooseDoor takes the way that is named most strongly: on the line, then in
// CLEATCTL_*, then in ETCDCTL_*; and the socket when nothing is named.
func chooseDoor(c *cli.Context) (door, error) {
	socket, network := sourceOf(c, "socket"), sourceOf(c, "endpoints")
	if socket == network && socket != fromDefault {
		return door{}, misuse("--socket and --endpoints exclude each other: give one of them")
	}
	files, err := tlsFiles(c)
	if err != nil {
		return door{}, err
	}
	if network > socket {
		return networkDoor(c, files)
	}
	for _, name := range []string{"cacert", "cert", "key"} {
		if sourceOf(c, name) == fromLine && !c.Bool("cluster") {
			return door{}, misuse("--%s needs --endpoints HOST:PORT: the socket takes no certificate", name)
		}
	}
	path := c.String("socket")
	if path == "" {
		if path, err = findSocket(socketPaths()); err != nil {
			return door{}, err
		}
	}
	return door{socket: path, endpoints: []string{socketURL(path)}, files: files}, nil
}

func networkDoor(c *cli.Context, files client.Config) (door, error) {
	var endpoints []string
	for _, endpoint := range c.StringSlice("endpoints") {
		if endpoint = strings.TrimSpace(endpoint); endpoint != "" {
			endpoints = append(endpoints, endpoint)
		}
	}
	if len(endpoints) == 0 {
		return door{}, misuse("--endpoints is empty: give HOST:PORT, or leave it out to use the socket")
	}
	return door{endpoints: endpoints, files: files}, nil
}

func tlsFiles(c *cli.Context) (client.Config, error) {
	files := client.Config{CACert: c.String("cacert"), Cert: c.String("cert"), Key: c.String("key")}
	if files.Cert != "" && files.Key == "" {
		return files, misuse("--cert needs --key FILE, the key that belongs to it")
	}
	if files.Key != "" && files.Cert == "" {
		return files, misuse("--key needs --cert FILE, the certificate that belongs to it")
	}
	return files, nil
}

// socketPaths are the places of the socket when none is named.
func socketPaths() []string {
	paths := []string{"/run/cleat/cleat.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "cleat", "cleat.sock"))
	}
	return paths
}

// findSocket returns the first path that is there. One that may not be looked
// at counts as being there: connecting to it tells why.
func findSocket(paths []string) (string, error) {
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no member on this machine: there is no %s: start one with systemctl start cleatd, name its socket with --socket, or go over the network with --endpoints", strings.Join(paths, " and no "))
}

// socketURL is how etcd's client writes a socket; three slashes, or it takes
// the first name of the path for a host.
func socketURL(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return "unix://" + path
}

// connect opens a client. A socket is dialled at once, because etcd's client
// would try a missing one until the command's time is up.
func (d door) connect(c *cli.Context) (*clientv3.Client, error) {
	config, err := d.config(c)
	if err != nil {
		return nil, err
	}
	opened, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(d.endpoints, ", "), err)
	}
	return opened, nil
}

func (d door) config(c *cli.Context) (clientv3.Config, error) {
	name, password, err := credentials(c)
	if err != nil {
		return clientv3.Config{}, err
	}
	config := clientv3.Config{
		Endpoints:            d.endpoints,
		DialTimeout:          c.Duration("dial-timeout"),
		DialKeepAliveTime:    c.Duration("keepalive-time"),
		DialKeepAliveTimeout: c.Duration("keepalive-timeout"),
		Username:             name,
		Password:             password,
		Logger:               clientLogger(c),
	}
	if d.socket != "" {
		dialer, err := dialSocket(d.socket, c)
		config.DialOptions = append(config.DialOptions, grpc.WithContextDialer(dialer))
		return config, err
	}
	if d.files != (client.Config{}) && !plain(d.endpoints[0]) {
		certificates, err := d.files.Credentials()
		if err != nil {
			return config, fmt.Errorf("%w: cleatctl cert issue NAME, typed on a member, makes the three files", err)
		}
		config.DialOptions = append(config.DialOptions, grpc.WithTransportCredentials(certificates))
	}
	return config, nil
}

// plain tells an address whose scheme excludes TLS.
func plain(endpoint string) bool {
	return strings.HasPrefix(endpoint, "http://") || strings.HasPrefix(endpoint, "unix:")
}

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

// explainSocket says what keeps a person from a socket, and the way in.
func explainSocket(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied on %s: run as root or join group cleat: usermod -aG cleat $USER, then log in again", path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no socket %s: start the member with systemctl start cleatd, or name its socket with --socket", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens on %s: the member is down: systemctl start cleatd, and journalctl -u cleatd tells why it stopped", path)
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}
