// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net"
	"sync"
)

// handoff is a listener whose connections come from a door instead of from the
// network: doors give, a grpc or HTTP server accepts.
type handoff struct {
	name  string
	conns chan *conn
	// closed ends Accept and give; closed once, by Close.
	closed chan struct{}
	once   sync.Once
}

func newHandoff(name string) *handoff {
	return &handoff{name: name, conns: make(chan *conn), closed: make(chan struct{})}
}

// give hands a connection over and takes no further interest in it. After
// Close it closes the connection instead.
func (h *handoff) give(c *conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close() // nobody is left to serve it
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h }

// Network and String make a handoff its own address.
func (h *handoff) Network() string { return "handoff" }
func (h *handoff) String() string  { return h.name }
