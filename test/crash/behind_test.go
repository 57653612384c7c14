// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	keys       = flag.Int("keys", 1_000_000, "how many keys a cluster holds when a machine joins it late")
	valueBytes = flag.Int("value", 256, "the bytes of their values")

	// stateMemory bounds what a member may hold in memory at its highest, in
	// bytes, however large the state is that it gives or takes.
	stateMemory = int64(700 << 20)
)

// batchKeys is how many keys a transaction has, etcd's most.
const batchKeys = 128

// TestAMachineThatJoinsLateIsKilledWhileItCatchesUp gives a machine a state
// that the log no longer has, kills it now and then on its way, and lets the
// cluster be written to all the while.
func TestAMachineThatJoinsLateIsKilledWhileItCatchesUp(t *testing.T) {
	reachable := []string{"--listen-peer=127.0.0.1:0", "--listen-ca=127.0.0.1:0", "--advertise=127.0.0.1"}
	chance := chance(t)
	host, guest := newHome(t, reachable...), newHome(t, append(reachable, "--name=two")...)
	one := host.start(t)
	first := one.client(t)
	defer first.Close()
	began := time.Now()
	load(t, first, *keys)
	loaded := time.Since(began)

	line := strings.Fields(host.ctl(t, "invite"))
	began = time.Now()
	two := guest.start(t)
	guest.ctl(t, append(line[1:], "--no-wait")...)
	stop := keepWriting(t, first)
	for range 5 {
		<-time.After(time.Duration(chance.Int64N(int64(2 * time.Second))))
		two.kill()
		two = guest.start(t)
	}
	second := two.client(t)
	defer second.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for {
		r, err := second.MemberList(ctx)
		if err == nil && len(r.Members) == 2 && !r.Members[0].IsLearner && !r.Members[1].IsLearner {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it has not caught up: %v, %v; it said:\n%s", r, err, two.said())
		case <-time.After(50 * time.Millisecond):
		}
	}
	caughtUp := time.Since(began)
	written := stop()
	same(t, first, second)
	if !strings.Contains(one.said(), `msg="checkpoint delivered"`) {
		t.Error("no checkpoint was delivered: the test showed nothing")
	}
	for name, p := range map[string]*process{"the one that gives": one, "the one that takes": two} {
		if most := p.mostMemory(t); most > stateMemory {
			t.Errorf("%s held %d MiB, want at most %d", name, most>>20, stateMemory>>20)
		}
	}
	t.Logf("%d keys loaded in %v; caught up in %v with 5 kills, while %d more were written; memory at most %d and %d MiB",
		*keys, loaded.Round(time.Second), caughtUp.Round(time.Millisecond), written, one.mostMemory(t)>>20, two.mostMemory(t)>>20)
}

// ctl runs cleatctl at a member's socket.
func (h home) ctl(t testing.TB, args ...string) string {
	t.Helper()
	c := exec.Command(filepath.Join(filepath.Dir(program(t)), "cleatctl"), append([]string{"--socket", h.socket()}, args...)...)
	var said, wrong bytes.Buffer
	c.Stdout, c.Stderr = &said, &wrong
	if err := c.Run(); err != nil {
		t.Fatalf("cleatctl %s: %v: %s", args[0], err, wrong.String())
	}
	return said.String()
}

func load(t testing.TB, c *clientv3.Client, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	const writers = 4
	problems := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for from := w * batchKeys; from < n && problems[w] == nil; from += writers * batchKeys {
				var ops []clientv3.Op
				for i := from; i < min(n, from+batchKeys); i++ {
					v := value{id: uint64(i), size: *valueBytes - 8}
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("fill/%024d", i), string(v.bytes())))
				}
				_, problems[w] = c.Txn(ctx).Then(ops...).Commit()
			}
		})
	}
	all.Wait()
	if err := errors.Join(problems...); err != nil {
		t.Fatal(err)
	}
}

// keepWriting writes until the function that it returns is called, which
// returns how often.
func keepWriting(t testing.TB, c *clientv3.Client) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int, 1)
	go func() {
		n := 0
		defer func() { written <- n }()
		for ctx.Err() == nil {
			short, end := context.WithTimeout(ctx, patience)
			_, err := c.Put(short, fmt.Sprintf("more/%d", n%1000), "x")
			end()
			if err != nil && ctx.Err() == nil {
				t.Errorf("put %d: %v", n, err)
				return
			}
			n++
		}
	}()
	return func() int { cancel(); return <-written }
}

// same fails unless two members hold the same.
func same(t testing.TB, a, b *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := b.Get(ctx, "more/0") // it is as new as the other
	if err != nil {
		t.Fatal(err)
	}
	var sums []uint32
	for _, c := range []*clientv3.Client{a, b} {
		h, err := c.HashKV(ctx, c.Endpoints()[0], r.Header.Revision)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, h.Hash)
	}
	if sums[0] != sums[1] {
		t.Errorf("hash %d at one, %d at the other", sums[0], sums[1])
	}
}

// mostMemory is the most that a process has held in memory, in bytes.
func (p *process) mostMemory(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the process tells nothing of its memory")
	return 0
}
