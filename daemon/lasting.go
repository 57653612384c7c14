// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net"
	"sync"
	"sync/atomic"
)

// lasting is a listener that outlives those who serve it: a member that joins
// a cluster is closed and opened again, while whoever comes waits at its door.
type lasting struct {
	net.Listener
	arrived chan arrival
	closed  chan struct{}
	once    sync.Once
	retired atomic.Bool // closed because it has moved; whoever came is served
}

type arrival struct {
	conn net.Conn
	err  error
}

func last(l net.Listener) *lasting {
	k := &lasting{Listener: l, arrived: make(chan arrival), closed: make(chan struct{})}
	go k.accept()
	return k
}

func (k *lasting) accept() {
	for {
		c, err := k.Listener.Accept()
		if err != nil && k.retired.Load() {
			_ = k.Close() // whoever came was served
			return
		}
		select {
		case k.arrived <- arrival{c, err}:
		case <-k.closed:
			if c != nil {
				_ = c.Close() // nobody is left to serve it
			}
			return
		}
	}
}

// retire lets nobody in any more. Who has come in stays, and is served.
func (k *lasting) retire() {
	k.retired.Store(true)
	_ = k.Listener.Close() // nothing is lost with a listener
}

// Close closes the listener for good.
func (k *lasting) Close() error {
	k.once.Do(func() { close(k.closed) })
	return k.Listener.Close()
}

// lend returns the listener for one who serves it: closing it ends only that.
func (k *lasting) lend() net.Listener { return &lent{lasting: k, returned: make(chan struct{})} }

type lent struct {
	*lasting
	returned chan struct{}
	once     sync.Once
}

func (l *lent) Accept() (net.Conn, error) {
	select {
	case <-l.returned: // first: one who has returned it gets nobody any more
		return nil, net.ErrClosed
	default:
	}
	select {
	case a := <-l.arrived:
		return a.conn, a.err
	case <-l.returned:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

func (l *lent) Close() error {
	l.once.Do(func() { close(l.returned) })
	return nil
}
