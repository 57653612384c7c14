// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// How doors of the network come to where they are to be. The new one is open
// before the old one is closed, so nobody finds both closed, and the connections
// that came in by the old one stay.

// places are where the doors of the network are to be; "" is one that is closed.
type places struct{ client, peer, ca string }

// places are where the settings want the doors, if others reach this member by the
// advertised host.
func (c *Config) places(advertise string) places {
	return places{client: c.clientAddress(advertise), peer: c.peerAddress(advertise), ca: c.caAddress(advertise)}
}

// move is a door on its way: open at its new place, and at the old one still.
type move struct {
	name, address string
	to, from      []*lasting
}

// open opens the network's doors that are to be elsewhere than they are. One that
// systemd has handed over stays; an empty address is a door that is closed.
// Errors wrap ErrConfig, and then nothing was opened.
func (d *doors) open(at places) (moves []move, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() {
		if err != nil {
			closeMoves(moves)
		}
	}()
	for _, m := range []move{{name: doorClient, address: at.client}, {name: doorPeer, address: at.peer}, {name: doorCA, address: at.ca}} {
		m.from = d.network[m.name]
		was, here := d.at[m.name]
		if here && was == m.address || !here && m.from != nil || !here && m.address == "" {
			continue
		}
		if m.address != "" {
			l, err := listenBeside(m.address, m.from)
			if err != nil {
				return moves, fmt.Errorf("%w: listen-%s: %v", ErrConfig, m.name, err)
			}
			m.to = []*lasting{last(l)}
		}
		moves = append(moves, m)
	}
	return moves, nil
}

// settle makes the new places those of the doors. The old ones are the caller's
// to close.
func (d *doors) settle(moves []move) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range moves {
		d.network[m.name], d.at[m.name] = m.to, m.address
		if m.address == "" {
			delete(d.network, m.name)
			delete(d.at, m.name)
		}
	}
}

// place opens or moves the doors before anybody serves them.
func (d *doors) place(at places) error {
	moves, err := d.open(at)
	if err != nil {
		return err
	}
	d.settle(moves)
	for _, m := range moves {
		for _, l := range m.from {
			_ = l.Close() // nothing is lost with a listener
		}
	}
	return nil
}

func closeMoves(moves []move) {
	for _, m := range moves {
		for _, l := range m.to {
			_ = l.Close() // nobody has come in yet
		}
	}
}

// listenBeside listens also where a door of ours does that is about to close: at
// the same port of all addresses instead of one, say. Both must allow it at that
// moment, and neither does later: another process is to be refused.
func listenBeside(address string, ours []*lasting) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if !errors.Is(err, unix.EADDRINUSE) || len(ours) == 0 {
		return l, err
	}
	for _, o := range ours {
		sharePort(o.Listener, true)
		defer sharePort(o.Listener, false)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return setSharing(c, true) }}
	if l, err = config.Listen(context.Background(), "tcp", address); err == nil {
		sharePort(l, false)
	}
	return l, err
}

// sharePort lets others of this user listen at the same port, or not. If it
// fails, listening there does.
func sharePort(l net.Listener, on bool) {
	c, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = setSharing(raw, on)
	}
}

func setSharing(c syscall.RawConn, on bool) error {
	value := 0
	if on {
		value = 1
	}
	var set error
	err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, value) })
	return errors.Join(err, set)
}
