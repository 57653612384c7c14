// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
	"github.com/cleatd/cleat/watch"
)

// testServer is a server over real parts in one process: a store on disk, the
// state machine, a hub. Agreement is a solo, which cannot disagree.
type testServer struct {
	*Server
	node   *solo
	keeper *clock
	store  *kv.Store
	logs   *logBuffer
	socket string
}

// startServer opens a server on a Unix socket; change may alter its
// configuration first.
func startServer(t testing.TB, change func(*Config)) *testServer {
	t.Helper()
	return startServerOn(t, kv.Options{}, change)
}

// startServerOn is startServer on a store with options, which may put it on a
// disk that has faults.
func startServerOn(t testing.TB, options kv.Options, change func(*Config)) *testServer {
	t.Helper()
	logs := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logs, nil))
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	options.Dir, options.Logger, options.Fatal = t.TempDir(), log, fatal
	store, err := kv.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	leases, err := lease.Load(state.LeaseReader(store), nil)
	if err != nil {
		t.Fatal(err)
	}
	machine := state.New(state.Config{Store: store, Leases: leases, Logger: log, Fatal: fatal})
	metrics := prometheus.NewRegistry()
	s := &testServer{node: &solo{machine: machine}, keeper: &clock{leases: leases}, store: store, logs: logs}
	config := Config{
		Node: s.node, Machine: machine, Hub: newHub(t, store, log), Keeper: s.keeper,
		ClusterID: 1<<63 + 7, MemberID: 42, Members: loner{},
		Passwords: auth.NewPasswords(auth.MinCost),
		Version:   "0.0.1-test", MinLeaseTTL: 2, RequestTimeout: 7 * time.Second,
		Limits:      Limits{MaxRequestBytes: 1536 << 10, MaxTxnOps: 128, WatchProgressInterval: 10 * time.Minute},
		SocketUsers: func(uint32, []uint32) (state.Identity, error) { return state.Identity{Root: true}, nil },
		Logger:      log, Registerer: metrics, Gatherer: metrics,
	}
	if change != nil {
		change(&config)
	}
	if s.Server, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	s.socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, func() error { return s.ServeSocket(l) })
	return s
}

// serve runs a door until the test ends.
func (s *testServer) serve(t testing.TB, door func() error) {
	done := make(chan error, 1)
	go func() { done <- door() }()
	t.Cleanup(func() {
		s.Stop(context.Background())
		if err := <-done; err != nil {
			t.Errorf("door: %v", err)
		}
	})
}

func newHub(t testing.TB, store *kv.Store, log *slog.Logger) *watch.Hub {
	hub := watch.NewHub(store, watch.Options{Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := hub.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("hub: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return hub
}

// dial returns a plain gRPC connection to the socket.
func (s *testServer) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("unix:"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// client returns etcd's own client on the socket.
func (s *testServer) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + s.socket}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// web returns an HTTP client whose every request goes to the socket.
func (s *testServer) web(t testing.TB) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *testServer) get(t testing.TB, path string) (int, string) {
	t.Helper()
	reply, err := s.web(t).Get("http://cleat" + path)
	return answer(t, reply, err)
}

func (s *testServer) post(t testing.TB, path, body string) (int, string) {
	t.Helper()
	reply, err := s.web(t).Post("http://cleat"+path, "application/json", strings.NewReader(body))
	return answer(t, reply, err)
}

func answer(t testing.TB, reply *http.Response, err error) (int, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

// logged counts the lines of the log that contain text.
func (s *testServer) logged(text string) int {
	n := 0
	for line := range strings.Lines(s.logs.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// logBuffer keeps a log for a test to read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually fails the test with the last error if try does not succeed soon.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	late, again := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// solo agrees with itself: a proposal is applied at once. Its faults can be
// set.
type solo struct {
	machine  *state.Machine
	applying sync.Mutex

	mu     sync.Mutex // guards index and faults
	index  uint64
	faults nodeFaults
}

// nodeFaults are what a solo does instead of agreeing.
type nodeFaults struct {
	leaderOff     bool
	propose, sync error
	hold          func(context.Context) error // called before anything else
	hear          func(command []byte)
}

func (n *solo) Propose(ctx context.Context, command []byte) ([]byte, error) {
	n.mu.Lock()
	f := n.faults
	n.mu.Unlock()
	if f.hear != nil {
		f.hear(command)
	}
	if f.hold != nil {
		if err := f.hold(ctx); err != nil {
			return nil, err
		}
	}
	if f.propose != nil {
		return nil, f.propose
	}
	n.applying.Lock()
	defer n.applying.Unlock()
	n.mu.Lock()
	n.index++
	entry := state.Entry{Index: n.index, Commands: [][]byte{command}}
	n.mu.Unlock()
	return n.machine.Apply([]state.Entry{entry})[0], nil
}

func (n *solo) Sync(ctx context.Context) error {
	n.mu.Lock()
	f := n.faults
	n.mu.Unlock()
	if f.hold != nil {
		if err := f.hold(ctx); err != nil {
			return err
		}
	}
	return f.sync
}

func (n *solo) Status() raft.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := raft.Status{Member: 42, Leader: 42, Term: 3, Commit: n.index, Applied: n.index}
	if n.faults.leaderOff {
		st.Leader = 0
	}
	return st
}

// fail replaces the faults.
func (n *solo) fail(f nodeFaults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// clock is a keeper whose leases never run down.
type clock struct{ leases *lease.Table }

func (c *clock) Renew(_ context.Context, id int64) (int64, error) {
	l, known := c.leases.Lookup(id)
	if !known {
		return 0, lease.ErrNotFound
	}
	return l.TTL, nil
}

func (c *clock) Remaining(id int64) (time.Duration, error) {
	ttl, err := c.Renew(context.Background(), id)
	return time.Duration(ttl) * time.Second, err
}
