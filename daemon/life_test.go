// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/raft"
)

// patience bounds every wait: it is generous, and no test asserts a time.
const patience = 60 * time.Second

// life is a member from its start to its end, in this process.
type life struct {
	t      *testing.T
	d      *Daemon
	stop   context.CancelFunc
	ended  chan error    // what Run returned
	over   chan struct{} // closed when Run has returned
	closed bool
	client *clientv3.Client
}

// options are those of a member whose everything is below dir.
func options(t *testing.T, dir string) Options {
	t.Helper()
	c := Default()
	c.Name, c.ListenClient, c.ReserveBytes = "test", "127.0.0.1:0", 0
	c.DataDir, c.Socket = filepath.Join(dir, "data"), filepath.Join(dir, "cleat.sock")
	said := new(sayings)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the member said:\n%s", said)
		}
	})
	return Options{
		Config: c, Level: new(slog.LevelVar), Logger: slog.New(slog.NewTextHandler(said, nil)), limit: patience,
	}
}

// small lets a member write tables and labels after a few MiB, not after tens:
// the race detector makes each MiB dear.
func (o *Options) small() {
	o.faults.kv = func(c *kv.Options) { c.MemtableBytes = 2 << 20 }
	o.faults.raft = func(c *raft.Config) { c.SnapshotBytes = 2 << 20 }
}

// sayings is what a member said; goroutines that outlive the test may go on.
type sayings struct {
	mu   sync.Mutex
	text bytes.Buffer // under mu
}

func (s *sayings) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sayings) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// begin starts a member and runs it.
func begin(t *testing.T, o Options) *life {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l := &life{t: t, d: d, stop: stop, ended: make(chan error, 1), over: make(chan struct{})}
	go func() {
		defer close(l.over)
		l.ended <- d.Run(ctx)
	}()
	t.Cleanup(l.leave)
	l.client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{"unix://" + o.Config.Socket}, DialTimeout: patience, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.client.Close() }) // closed by end when all went well
	return l
}

// end stops the member and returns what Run, and then Close, has said.
func (l *life) end() error {
	l.t.Helper()
	l.stop()
	return l.fall()
}

// leave sees to it that nothing of the member outlives its test.
func (l *life) leave() {
	l.stop()
	select {
	case <-l.over:
	case <-time.After(patience):
		l.t.Error("the member goes on behind its test")
		return
	}
	if !l.closed {
		_ = l.d.Close() // the others may have gone before it
	}
}

// fall waits for a member that stops by itself.
func (l *life) fall() error {
	l.t.Helper()
	err := l.cause()
	_ = l.client.Close()
	l.closed = true
	return errors.Join(err, l.d.Close())
}

// cause waits for Run's end.
func (l *life) cause() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(patience):
		l.t.Fatal("the member goes on")
		return nil
	}
}

// put returns after the acknowledgement, or with the reason why there is none.
func (l *life) put(key string, size int) error {
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	_, err := l.client.Put(ctx, key, filler(key, size))
	return err
}

// filler is what key holds: size bytes that do not compress.
func filler(key string, size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(key))).Read(b) // never fails
	return string(b)
}

// holds checks that the keys 0 to n-1 are there with values of size bytes.
func (l *life) holds(n, size int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for i := range n {
		key := fmt.Sprint(i)
		r, err := l.client.Get(ctx, key)
		if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != filler(key, size) {
			l.t.Fatalf("key %s, which was acknowledged: %v, %v", key, r, err)
		}
	}
}

// shortDir is a directory whose name leaves room for a socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// successor starts a member on a copy of what another has left on the disk,
// which a part of it that hangs may still hold.
func successor(t *testing.T, o Options) *life {
	t.Helper()
	next := options(t, shortDir(t))
	next.Config.RaftLog = o.Config.RaftLog
	if err := os.CopyFS(next.Config.DataDir, os.DirFS(o.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	return begin(t, next)
}

// Its other parts may go on for as long as nobody stops them.
func TestAPartThatFailsEndsTheMember(t *testing.T) {
	l := begin(t, options(t, shortDir(t)))
	broken := errors.New("broken")
	l.d.keep(t.Context(), "a part", func(context.Context) error { return broken })
	if err := l.fall(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "a part") {
		t.Errorf("the member ended with %v", err)
	}
}
