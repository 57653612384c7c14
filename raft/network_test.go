// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// world is a network within the process. Each direction between two members
// can be cut: what is under way in it is lost then, and whoever waits for it
// waits until it gives up or the link is whole again.
type world struct {
	mu      sync.Mutex
	hosts   map[string]*host
	cut     map[[2]uint64]bool
	changed chan struct{} // closed, and replaced, when a link changes
	wires   map[*wire]bool
	tear    int // so many writes of states on, one fails; 0: none
}

func newWorld() *world {
	return &world{hosts: map[string]*host{}, cut: map[[2]uint64]bool{}, changed: make(chan struct{}), wires: map[*wire]bool{}}
}

// host is one member's place in the world, as long as it runs.
type host struct {
	world   *world
	member  uint64
	address string
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	node *Node // nil until it is open
}

func (w *world) host(member uint64, address string) *host {
	h := &host{world: w, member: member, address: address, arrived: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[address] = h
	return h
}

func (h *host) serve(n *Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node = n
}

// set cuts or mends the way from one member to another.
func (w *world) set(from, to uint64, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]uint64{from, to}] = cut
	close(w.changed)
	w.changed = make(chan struct{})
	for x := range w.wires {
		if !cut && x.holed() { // a stream with a hole in it is of no use
			delete(w.wires, x)
			_ = x.Conn.Close() // both ends see it
		}
	}
}

// part cuts member off in both directions, or joins it again.
func (w *world) part(member uint64, others []uint64, cut bool) {
	for _, other := range others {
		if other != member {
			w.set(member, other, cut)
			w.set(other, member, cut)
		}
	}
}

func (w *world) isCut(from, to uint64) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]uint64{from, to}], w.changed
}

// find returns who listens at address, if the way there and back is free.
func (w *world) find(from, member uint64, address string) (*host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.hosts[address]
	switch {
	case h == nil:
		return nil, fmt.Errorf("%w: nobody at %s", ErrUnreached, address)
	case member != 0 && h.member != member:
		return nil, fmt.Errorf("%w: %s is member %d", ErrUnreached, address, h.member)
	case w.cut[[2]uint64{from, h.member}]:
		return nil, fmt.Errorf("%w: cut", ErrUnreached)
	}
	return h, nil
}

func (h *host) Dial(ctx context.Context, member uint64, address string) (net.Conn, error) {
	to, err := h.world.find(h.member, member, address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	w := h.world
	a, b := &wire{Conn: near, world: w, from: h.member, to: to.member}, &wire{Conn: far, world: w, from: to.member, to: h.member}
	select {
	case to.arrived <- b:
	case <-to.closed:
		return nil, ErrUnreached
	case <-h.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wires[a], w.wires[b] = true, true
	return a, nil
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.arrived:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Call loses the request or the answer if a link is cut at that moment.
func (h *host) Call(ctx context.Context, member uint64, address string, request []byte) ([]byte, error) {
	to, err := h.world.find(h.member, member, address)
	if err != nil {
		return nil, err
	}
	to.mu.Lock()
	node := to.node
	to.mu.Unlock()
	if node == nil {
		return nil, ErrUnreached
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-to.closed:
			end() // what it answers then still arrives
		case <-h.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	type outcome struct {
		answer []byte
		err    error
	}
	answered := make(chan outcome, 1)
	go func() { // a caller does not wait for a member that hangs
		answer, err := node.Answer(asked, h.member, request)
		answered <- outcome{answer, err}
	}()
	var out outcome
	select {
	case out = <-answered:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if out.err != nil {
		return nil, out.err
	}
	for {
		cut, changed := h.world.isCut(to.member, h.member)
		if !cut {
			return out.answer, ctx.Err()
		}
		select {
		case <-changed:
			return nil, errors.New("answer lost")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Send breaks off where the link is cut.
func (h *host) Send(ctx context.Context, member uint64, address string, state io.WriterTo) error {
	to, err := h.world.find(h.member, member, address)
	if err != nil {
		return err
	}
	to.mu.Lock()
	node := to.node
	to.mu.Unlock()
	if node == nil {
		return ErrUnreached
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-to.closed:
		case <-h.closed:
		case <-ctx.Done():
		}
		_ = w.CloseWithError(net.ErrClosed)
		_ = r.CloseWithError(net.ErrClosed)
	}()
	received := make(chan error, 1)
	go func() {
		err := node.Receive(ctx, h.member, r)
		_ = r.CloseWithError(err) // nobody reads on
		received <- err
	}()
	_, err = state.WriteTo(cable{w, h.world, h.member, to.member})
	if err == nil {
		err = w.Close()
	} else {
		_ = w.CloseWithError(err)
	}
	if came := <-received; came != nil {
		return came
	}
	return err
}

// cable carries a state as long as the link is whole.
type cable struct {
	to       io.Writer
	world    *world
	from, at uint64
}

func (c cable) Write(b []byte) (int, error) {
	if cut, _ := c.world.isCut(c.from, c.at); cut || c.world.torn() {
		return 0, errors.New("torn")
	}
	return c.to.Write(b)
}

// torn says whether this write of a state is one that fails.
func (w *world) torn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tear == 0 {
		return false
	}
	w.tear--
	return w.tear == 0
}

func (h *host) Close() error {
	h.once.Do(func() {
		close(h.closed)
		h.world.mu.Lock()
		defer h.world.mu.Unlock()
		if h.world.hosts[h.address] == h {
			delete(h.world.hosts, h.address)
		}
	})
	return nil
}

// wire is one end of a stream. What is written while the link is cut is lost,
// and so is everything after it.
type wire struct {
	net.Conn
	world    *world
	from, to uint64

	mu   sync.Mutex
	hole bool
}

func (x *wire) holed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.hole
}

func (x *wire) Write(p []byte) (int, error) {
	cut, _ := x.world.isCut(x.from, x.to)
	x.mu.Lock()
	x.hole = x.hole || cut
	lost := x.hole
	x.mu.Unlock()
	if lost {
		return len(p), nil
	}
	n, err := x.Conn.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = net.ErrClosed
	}
	return n, err
}

func (x *wire) Close() error {
	x.world.mu.Lock()
	delete(x.world.wires, x)
	x.world.mu.Unlock()
	return x.Conn.Close()
}

// testElection outlasts what other tests do to a machine of two cores: a
// leader that is lost to them is none of the faults that are meant.
const testElection = 250 * time.Millisecond
