// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// trio is three members as real processes, which come back where they were.
type trio struct {
	t       *testing.T
	homes   [3]home
	members [3]*process
	clients [3]*clientv3.Client // one for each member
	ids     [3]uint64
	remote  visit // over TLS
}

// visit is how a client comes in.
type visit struct {
	endpoints []string
	tls       *tls.Config // nil at the sockets
}

var addresses = regexp.MustCompile(`msg=ready .*peer=(\S+) .*client=(\S+)`)

func startTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{t: t}
	for i := range c.homes {
		c.homes[i] = newHome(t, fmt.Sprint("--name=m", i+1), "--advertise=127.0.0.1", "--listen-peer=127.0.0.1:0", "--listen-client=127.0.0.1:0", "--listen-ca=127.0.0.1:0")
		c.members[i] = c.homes[i].start(t)
		c.clients[i] = c.members[i].client(t)
		t.Cleanup(func() { _ = c.clients[i].Close() })
		if i > 0 {
			c.homes[i].ctl(t, strings.Fields(c.homes[0].ctl(t, "invite"))[1:]...)
		}
		found := addresses.FindAllStringSubmatch(c.members[i].said(), -1)
		peer, client := found[len(found)-1][1], found[len(found)-1][2]
		c.homes[i].flags[2], c.homes[i].flags[3] = "--listen-peer="+peer, "--listen-client="+client
		c.remote.endpoints = append(c.remote.endpoints, client)
	}
	c.healthy()
	c.remote.tls = c.homes[0].issue(t)
	for i, client := range c.clients {
		s, err := client.Status(t.Context(), client.Endpoints()[0])
		if err != nil {
			t.Fatal(err)
		}
		c.ids[i] = s.Header.MemberId
	}
	return c
}

// healthy waits until all vote, know the same leader and have applied what it
// has. It returns the leader's place.
func (c *trio) healthy() (leader int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		leader, err := c.look(ctx)
		if err == nil {
			return leader
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("not healthy: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *trio) look(ctx context.Context) (leader int, err error) {
	var ids []uint64
	var applied []uint64
	leaders := map[uint64]bool{}
	for i, client := range c.clients {
		short, cancel := context.WithTimeout(ctx, time.Second)
		s, err := client.Status(short, client.Endpoints()[0])
		cancel()
		if err != nil {
			return 0, fmt.Errorf("member %d: %w", i+1, err)
		}
		if s.IsLearner || s.Leader == 0 {
			return 0, fmt.Errorf("member %d: learner %v, leader %x", i+1, s.IsLearner, s.Leader)
		}
		ids, applied, leaders[s.Leader] = append(ids, s.Header.MemberId), append(applied, s.RaftAppliedIndex), true
	}
	for id := range leaders {
		leader = slices.Index(ids, id)
	}
	if behind := slices.Max(applied) - slices.Min(applied); len(leaders) > 1 || leader < 0 || behind > 1000 {
		return 0, fmt.Errorf("%d leaders, %d entries between members", len(leaders), behind)
	}
	return leader, nil
}

// term stops a member in order, and fails unless it ends well.
func (c *trio) term(i int) {
	c.t.Helper()
	p := c.members[i]
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		c.t.Fatalf("member %d does not end, and said:\n%s", i+1, p.said())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("member %d ended with code %d, and said:\n%s", i+1, code, p.said())
	}
}

// crowd writes at all members, each writer to keys of its own, and remembers
// what was acknowledged, and when.
type crowd struct {
	clients []*clientv3.Client

	mu       sync.Mutex
	acked    map[string]string             // by key
	times    []time.Time                   // of acknowledgements
	met      map[uint64][writers]time.Time // when a member answered a writer last
	longest  [writers]time.Duration        // request of each
	failures []error
}

// writers is how many write at the same time.
const writers = 8

// write starts a crowd, and returns how to end it.
func (c *trio) write() (w *crowd, stop func()) {
	c.t.Helper()
	w = &crowd{acked: map[string]string{}, met: map[uint64][writers]time.Time{}}
	ctx, cancel := context.WithCancel(c.t.Context())
	var all sync.WaitGroup
	for id := range writers {
		client := c.dial(id)
		w.clients = append(w.clients, client)
		all.Go(func() { w.run(ctx, client, id) })
	}
	return w, sync.OnceFunc(func() {
		cancel()
		all.Wait()
		for _, client := range w.clients {
			_ = client.Close()
		}
	})
}

// dial returns a client of all members: every other one comes over TLS.
func (c *trio) dial(id int) *clientv3.Client {
	c.t.Helper()
	v := visit{endpoints: c.endpoints()}
	if id%2 == 1 {
		v = c.remote
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: v.endpoints, TLS: v.tls, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

func (c *trio) endpoints() []string {
	var all []string
	for _, h := range c.homes {
		all = append(all, "unix://"+h.socket())
	}
	return all
}

func (w *crowd) run(ctx context.Context, client *clientv3.Client, id int) {
	for n := 0; ctx.Err() == nil; n++ {
		key, text := fmt.Sprintf("w%d/%08d", id, n), fmt.Sprint(n)
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		began := time.Now()
		r, err := client.Put(short, key, text)
		cancel()
		w.mu.Lock()
		w.longest[id] = max(w.longest[id], time.Since(began))
		switch {
		case err == nil:
			w.acked[key] = text
			w.times = append(w.times, time.Now())
			met := w.met[r.Header.MemberId]
			met[id] = time.Now()
			w.met[r.Header.MemberId] = met
		case ctx.Err() == nil:
			w.failures = append(w.failures, fmt.Errorf("%s: %w", key, err))
		}
		w.mu.Unlock()
	}
}

// since waits until n writes have been acknowledged after a moment, and returns
// the longest time without one from then on.
func (w *crowd) since(t *testing.T, moment time.Time, n int) time.Duration {
	t.Helper()
	now, late := time.Now(), time.After(patience)
	for {
		w.mu.Lock()
		at, _ := slices.BinarySearchFunc(w.times, moment, time.Time.Compare)
		after := slices.Clone(w.times[at:])
		w.mu.Unlock()
		if since, _ := slices.BinarySearchFunc(after, now, time.Time.Compare); len(after)-since >= n {
			longest := after[0].Sub(moment)
			for i := range after[1:] {
				longest = max(longest, after[i+1].Sub(after[i]))
			}
			return longest
		}
		select {
		case <-late:
			t.Fatalf("%d writes were acknowledged, want %d", len(after), n)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// meet waits until a member has answered all writers since a moment: gRPC waits
// a second before it tries again where nobody was.
func (w *crowd) meet(t *testing.T, member uint64, moment time.Time) {
	t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		met := w.met[member]
		w.mu.Unlock()
		if !slices.ContainsFunc(met[:], moment.After) {
			return
		}
		select {
		case <-late:
			t.Fatalf("member %x has not answered all writers", member)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// check fails unless every member has all that was acknowledged.
func (w *crowd) check(c *trio) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, client := range c.clients {
		r, err := client.Get(ctx, "w", clientv3.WithPrefix())
		if err != nil {
			c.t.Fatal(err)
		}
		have := map[string]string{}
		for _, kv := range r.Kvs {
			have[string(kv.Key)] = string(kv.Value)
		}
		for key, text := range w.acked {
			if have[key] != text {
				c.t.Errorf("member %d: %s was acknowledged as %q and is %q", i+1, key, text, have[key])
			}
		}
	}
	same(c.t, c.clients[0], c.clients[1])
	same(c.t, c.clients[0], c.clients[2])
}

// fail notes that a request did not do what it is for.
func (w *crowd) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, err)
}

func (w *crowd) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.failures...)
}
