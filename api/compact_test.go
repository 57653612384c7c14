// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
)

// gate is a disk whose tables cannot be read while it is shut. Nothing but the
// deletion of what is compacted reads them in these tests.
type gate struct {
	mu      sync.Mutex
	opened  chan struct{} // guarded by mu; closed while the gate is open
	arrived chan struct{} // one value when somebody finds it shut
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{}), arrived: make(chan struct{}, 1)}
	close(g.opened)
	return g
}

func (g *gate) disk() vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".sst") && (op.Kind == errorfs.OpOpen || op.Kind == errorfs.OpFileReadAt) {
			g.pass()
		}
		return nil
	}))
}

func (g *gate) pass() {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return
	default:
	}
	select {
	case g.arrived <- struct{}{}:
	default:
	}
	<-opened
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

// open may be called again.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// A compaction is agreed upon at once; a client that asks for a physical one
// wants to hear when what it gave up has left the store, and no sooner.
func TestOnlyAPhysicalCompactionWaitsForTheDeletion(t *testing.T) {
	g := newGate()
	s := startServerOn(t, kv.Options{FS: g.disk()}, nil)
	t.Cleanup(g.open)
	for range 4 {
		s.put(t, "k", "v")
	}
	if err := s.store.Flush(); err != nil {
		t.Fatal(err)
	}
	compact := func(ctx context.Context, r *pb.CompactionRequest) error {
		_, err := s.compact(ctx, call{caller: &caller{}, start: time.Now()}, r)
		return err
	}

	g.shut()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := compact(soon, &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatalf("a compaction that need not wait: %v", err)
	}
	<-g.arrived
	gone, leave := context.WithCancel(t.Context())
	leave() // so that whatever waits gives up at once
	if err := compact(gone, &pb.CompactionRequest{Revision: 4, Physical: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("a physical compaction, its deletion held: %v, want it to wait", err)
	}
	if got := s.store.Compacted(); got != 4 {
		t.Errorf("compacted at %d, want 4: it was agreed upon", got)
	}

	answered := make(chan error, 1)
	go func() { answered <- compact(t.Context(), &pb.CompactionRequest{Revision: 5, Physical: true}) }()
	g.open()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.config.Machine.Compacted(5):
	default:
		t.Error("the answer came before the deletion had ended")
	}
}
