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
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/cleatd/cleat/client"
)

// door is the way to a member: its Unix socket, or addresses on the network.
type door struct {
	socket    string // empty: over the network
	endpoints []string
	files     client.Config
	trust     trust
	who       *login // nil: whom the flags name
	context   string // whose files and endpoints those are; empty: the line's
	attempts  uint   // at a call that fails in time; 0: as etcd's client does
}

// chooseDoor takes the way that is named most strongly: on the line, then in
// CLEATCTL_*, then in ETCDCTL_*. When nothing is named it is the current context,
// and the socket if there is none.
func chooseDoor(c *cli.Context) (door, error) {
	socket, network, named := sourceOf(c, "socket"), max(sourceOf(c, "endpoints"), sourceOf(c, "discovery-srv")), sourceOf(c, "context")
	if socket != fromDefault && socket == network {
		return door{}, misuse("--socket and --endpoints exclude each other: give one of them")
	}
	if socket != fromDefault && socket == named {
		return door{}, misuse("--socket and --context exclude each other: give one of them")
	}
	if c.String("user") == "" && sourceOf(c, "password") == fromLine {
		return door{}, misuse("--password needs --user NAME")
	}
	files, err := tlsFiles(c)
	if err != nil {
		return door{}, err
	}
	switch asked := max(network, named); {
	case socket > asked:
		return socketDoor(c, files, "")
	case named != fromDefault:
		return contextDoor(c, c.String("context"), files)
	case network != fromDefault:
		return networkDoor(c, files)
	}
	if current, err := client.CurrentContext(); err != nil || current != "" {
		return currentDoor(c, current, files, err)
	}
	return socketDoor(c, files, "")
}

// chooseSocket is the way for what only the socket answers. Endpoints in the
// environment are meant for other commands.
func chooseSocket(c *cli.Context) (door, error) {
	if sourceOf(c, "endpoints") == fromLine {
		return door{}, misuse("%s speaks to the socket only: run it on a member, without --endpoints", called(c))
	}
	if sourceOf(c, "context") == fromLine {
		return door{}, misuse("%s speaks to the socket only: run it on a member, without --context", called(c))
	}
	way, err := socketDoor(c, client.Config{}, called(c))
	way.attempts = 1 // an answer that time ran out elsewhere is an answer
	return way, err
}

// socketDoor leads to the socket; only is the command that no other door
// answers, or empty.
func socketDoor(c *cli.Context, files client.Config, only string) (door, error) {
	for _, name := range []string{"cacert", "cert", "key"} {
		if sourceOf(c, name) == fromLine && !c.Bool("cluster") {
			return door{}, misuse("--%s needs --endpoints HOST:PORT: the socket takes no certificate", name)
		}
	}
	path := c.String("socket")
	if path == "" {
		found, ok := findSocket(socketPaths())
		if !ok {
			return door{}, noMember(runtime.GOOS, socketPaths(), only)
		}
		path = found
	}
	return door{socket: path, endpoints: []string{socketURL(path)}, files: files}, nil
}

func networkDoor(c *cli.Context, files client.Config) (door, error) {
	endpoints, err := askedEndpoints(c)
	if err != nil {
		return door{}, err
	}
	return doorTo(endpoints, files, askedTrust(c)), nil
}

// askedEndpoints are those that DNS names, or else those on the line.
func askedEndpoints(c *cli.Context) ([]string, error) {
	if c.String("discovery-srv") != "" {
		return discover(c, net.DefaultResolver)
	}
	var endpoints []string
	for _, endpoint := range c.StringSlice("endpoints") {
		if endpoint = strings.TrimSpace(endpoint); endpoint != "" {
			endpoints = append(endpoints, endpoint)
		}
	}
	if len(endpoints) == 0 {
		return nil, misuse("--endpoints is empty: give HOST:PORT, or leave it out to use the socket")
	}
	return endpoints, nil
}

// doorTo knows that a socket can be given as an endpoint, too.
func doorTo(endpoints []string, files client.Config, how trust) door {
	way := door{endpoints: endpoints, files: files, trust: how}
	if path, ok := strings.CutPrefix(endpoints[0], "unix://"); ok && len(endpoints) == 1 {
		way.socket = path
	}
	return way
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
func findSocket(paths []string) (path string, ok bool) {
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, true
		}
	}
	return "", false
}

// noMember says that there is no socket here, and the way to go instead: where
// cleatd does not run there never is one.
func noMember(system string, paths []string, only string) error {
	switch {
	case system == "linux":
		return fmt.Errorf("no member on this machine: there is no %s: start one with systemctl start cleatd, name its socket with --socket, or go over the network with --endpoints",
			strings.Join(paths, " and no "))
	case only != "":
		return fmt.Errorf("%s speaks to the socket of a member, and members run on Linux: run it there, or name with --socket one that leads there", only)
	}
	return errors.New("no member on this machine, for members run on Linux: name one with --endpoints HOST:PORT, and with --cacert, --cert and --key the files that cleatctl cert issue NAME makes on it")
}

// socketURL is how etcd's client writes a socket; three slashes, or it takes
// the first name of the path for a host.
func socketURL(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return "unix://" + path
}

// firstWord is how long a member may take to answer at its socket when nobody
// says otherwise: it may be this call that starts it, or it is being restarted,
// and systemd holds the socket meanwhile.
const firstWord = 30 * time.Second

// connect opens a client and waits for it to reach a member, for etcd's client
// would only say after the command's time that the time is up.
func (d door) connect(c *cli.Context) (*clientv3.Client, error) {
	config, err := d.config(c)
	if err != nil {
		return nil, err
	}
	opened, err := clientv3.New(config)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, d.explain(c, err)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, config.DialTimeout)
	defer cancel()
	if err := d.reach(ctx, opened.ActiveConnection()); err != nil {
		_ = opened.Close()
		return nil, d.explain(c, err)
	}
	return opened, nil
}

// reach returns when the connection is ready, or with the reason why it will not
// be. A socket that is gone is one: systemd closes it when its member cannot
// start.
func (d door) reach(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		state := conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if d.socket != "" && state == connectivity.TransientFailure {
			if err := probeSocket(ctx, d.socket); err != nil {
				return err
			}
		}
		conn.Connect()
		if !conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}

func (d door) config(c *cli.Context) (clientv3.Config, error) {
	who, err := d.login(c)
	if err != nil {
		return clientv3.Config{}, err
	}
	config := clientv3.Config{
		Endpoints:            d.endpoints,
		DialTimeout:          c.Duration("dial-timeout"),
		DialKeepAliveTime:    c.Duration("keepalive-time"),
		DialKeepAliveTimeout: c.Duration("keepalive-timeout"),
		MaxUnaryRetries:      d.attempts,
		MaxCallSendMsgSize:   c.Int("max-request-bytes"),
		MaxCallRecvMsgSize:   c.Int("max-recv-bytes"),
		Username:             who.name,
		Password:             who.password,
		Token:                who.token,
		Logger:               clientLogger(c),
	}
	if d.socket != "" {
		if sourceOf(c, "dial-timeout") == fromDefault {
			config.DialTimeout = firstWord
		}
		dialer, err := dialSocket(d.socket, c)
		config.DialOptions = append(config.DialOptions, grpc.WithContextDialer(dialer))
		return config, err
	}
	if d.secured(d.endpoints[0]) {
		certificates, err := d.credentials()
		if err != nil {
			return config, err
		}
		config.DialOptions = append(config.DialOptions, grpc.WithTransportCredentials(certificates))
	}
	return config, nil
}

func (d door) login(c *cli.Context) (login, error) {
	if d.who != nil {
		return *d.who, nil
	}
	return askedLogin(c)
}

// plain tells an address whose scheme excludes TLS.
func plain(endpoint string) bool {
	return strings.HasPrefix(endpoint, "http://") || strings.HasPrefix(endpoint, "unix:")
}
