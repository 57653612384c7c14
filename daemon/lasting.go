// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lasting is a listener that outlives those who serve it: a member that joins
// a cluster is closed and opened again, while whoever comes waits at its door.
// They wait in the kernel's queue, which is the next process's, too, when
// systemd holds the door.
type lasting struct {
	net.Listener
	retired atomic.Bool // closed because it has moved; whoever came is served
}

func last(l net.Listener) *lasting { return &lasting{Listener: l} }

// retire lets nobody in any more. Who has come in stays, and is served.
func (k *lasting) retire() {
	k.retired.Store(true)
	_ = k.Listener.Close() // nothing is lost with a listener
}

// lend returns the listener for one who serves it: closing it ends only that.
// It is lent to one at a time.
func (k *lasting) lend() net.Listener {
	k.wait(time.Time{})
	return &lent{lasting: k, returned: make(chan struct{})}
}

// wait bounds how long Accept waits; it is without end for the zero time. What
// has no such bound is a test's.
func (k *lasting) wait(until time.Time) {
	if l, ok := k.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(until) // fails on one that is closed, where nobody waits
	}
}

type lent struct {
	*lasting
	returned chan struct{}
	once     sync.Once
}

// Accept may return one more connection beside Close: it has been taken out of
// the kernel's queue, so whoever serves must serve it.
func (l *lent) Accept() (net.Conn, error) {
	select {
	case <-l.returned: // first: one who has returned it gets nobody any more
		return nil, net.ErrClosed
	default:
	}
	c, err := l.lasting.Accept()
	if err == nil {
		return c, nil
	}
	select {
	case <-l.returned: // which is why it did not wait any longer
		return nil, net.ErrClosed
	default:
	}
	if errors.Is(err, net.ErrClosed) {
		return nil, net.ErrClosed
	}
	return nil, err
}

// Close gives the listener back. Whoever comes from then on waits.
func (l *lent) Close() error {
	l.once.Do(func() {
		close(l.returned)
		l.wait(time.Unix(1, 0))
	})
	return nil
}
