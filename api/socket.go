// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ServeSocket serves a Unix socket in plaintext until Stop, and closes it. It
// returns nil after Stop, otherwise why the socket can no longer be used.
func (s *Server) ServeSocket(l net.Listener) error {
	return s.serve(l, s.admitSocket)
}

// serve accepts connections and admits each in a goroutine of its own, so that
// a slow client delays nobody.
func (s *Server) serve(l net.Listener, admit func(net.Conn)) error {
	if !s.listen(l) {
		_ = l.Close() // nobody has come in yet
		return nil
	}
	s.start()
	defer s.hall.doors.Done()
	defer l.Close()
	slots := make(chan struct{}, maxAdmissions)
	for {
		c, err := l.Accept()
		if err != nil {
			if s.stopping() {
				return nil
			}
			if !passing(err) {
				return fmt.Errorf("accept at %s: %w", l.Addr(), err)
			}
			s.log.Warn("cannot accept a connection", "address", l.Addr().String(), "err", err)
			s.pause(acceptPause)
			continue
		}
		slots <- struct{}{}
		s.hall.there.Add(1)
		s.group.Go(func() {
			defer func() { s.hall.there.Done(); <-slots }()
			admit(c)
		})
	}
}

const (
	// maxAdmissions bounds the connections of a door that have not shown yet
	// who they are. Those beyond wait in the kernel's queue.
	maxAdmissions = 512
	// handshakeLimit is how long a connection may take to show it.
	handshakeLimit = 10 * time.Second
	// acceptPause keeps a process that has run out of files from spinning.
	acceptPause = 50 * time.Millisecond
)

// passing says whether accept may work again, as when files have run out.
func passing(err error) bool {
	var e net.Error
	//lint:ignore SA1019 vague in general; accept is what it was made for
	return errors.As(err, &e) && e.Temporary()
}

func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.base.Done():
	}
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// admitSocket asks the kernel who is calling and the bytes what they speak. A
// stranger is admitted too, to be told so in the protocol that they speak.
func (s *Server) admitSocket(c net.Conn) {
	who, err := s.socketCaller(c)
	if err != nil {
		s.log.Warn("socket: no peer credentials", "err", err)
		_ = c.Close() // nothing was said yet
		return
	}
	if who.refusal != nil {
		s.metrics.socketRefused.Inc()
		s.log.Warn("socket: caller refused", "err", who.refusal)
	}
	_ = c.SetReadDeadline(time.Now().Add(handshakeLimit)) // a closed connection fails at the read
	unhook := context.AfterFunc(s.hall.word, func() { _ = c.Close() })
	http2, c2, err := sniff(c)
	unhook()
	if err != nil {
		_ = c.Close() // the client left without a word
		return
	}
	_ = c.SetReadDeadline(time.Time{}) // likewise
	if http2 {
		s.local.give(&conn{Conn: c2, caller: who})
		return
	}
	s.toWeb(&conn{Conn: c2, caller: who})
}

func (s *Server) socketCaller(c net.Conn) (*caller, error) {
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("api: a %T is no Unix socket", c)
	}
	p, err := readPeerCredentials(unixConn)
	if err != nil {
		return nil, err
	}
	identity, err := s.config.SocketUsers(p.uid, p.gids)
	if err != nil {
		return &caller{account: s.fair.open(&s.fair.socket, 1), refusal: status.Errorf(codes.PermissionDenied, "cleat: uid %d may not use this socket: %v", p.uid, err)}, nil
	}
	return &caller{identity: identity, account: s.fair.open(&s.fair.socket, 1)}, nil
}
