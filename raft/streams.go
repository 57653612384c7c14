// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	hraft "github.com/hashicorp/raft"
)

// streams is the Network as hraft wants it. It knows every stream, because
// hraft leaves open those that wait for an answer.
type streams struct {
	network Network
	id      hraft.ServerID
	serve   func(net.Conn) // reads a stream of entries to its end

	mu     sync.Mutex
	open   map[net.Conn]struct{} // nil once closed
	idle   map[hraft.ServerAddress][]*sender
	closed sync.Once
}

type stream struct {
	net.Conn
	of *streams
}

func (s stream) Close() error {
	s.of.mu.Lock()
	delete(s.of.open, s.Conn)
	s.of.mu.Unlock()
	return s.Conn.Close()
}

// Accept returns a stream that another member opened. hraft reads each on a
// goroutine of its own.
func (s *streams) Accept() (net.Conn, error) {
	c, err := s.keep(s.network.Accept())
	if err != nil {
		return nil, err
	}
	return &incoming{Conn: c, serve: s.serve}, nil
}

// incoming is a stream of hraft's messages, unless it begins with entriesMark:
// then hraft's first Read serves it, and ends with it.
type incoming struct {
	net.Conn
	serve func(net.Conn)
	begun bool
}

func (c *incoming) Read(p []byte) (int, error) {
	if c.begun || len(p) == 0 {
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:1])
	if c.begun = n > 0; !c.begun || p[0] != entriesMark {
		return n, err
	}
	c.serve(c.Conn)
	return 0, io.EOF
}

func (s *streams) Dial(target hraft.ServerAddress, patience time.Duration) (net.Conn, error) {
	id, address, ok := strings.Cut(string(target), "@")
	if !ok {
		return nil, fmt.Errorf("raft: dial %q: no member", target)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.keep(s.network.Dial(ctx, memberOf(hraft.ServerID(id)), address))
}

func (s *streams) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	s.open[c] = struct{}{}
	return stream{c, s}, nil
}

func (s *streams) Close() (err error) {
	s.closed.Do(func() {
		err = s.network.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.open {
			err = errors.Join(err, c.Close())
		}
		s.open = nil
	})
	return err
}

func (s *streams) Addr() net.Addr { return streamAddress(s.id) }

type streamAddress string

func (streamAddress) Network() string  { return "raft" }
func (a streamAddress) String() string { return string(a) }

// sender is a stream of entries to another member, used by one at a time.
type sender struct {
	net.Conn
	answers *bufio.Reader
	out     []byte // of the last request, to be used again
}

// sender returns an idle stream to a target, or a new one.
func (s *streams) sender(target hraft.ServerAddress, patience time.Duration) (*sender, error) {
	s.mu.Lock()
	if n := len(s.idle[target]); n > 0 {
		found := s.idle[target][n-1]
		s.idle[target] = s.idle[target][:n-1]
		s.mu.Unlock()
		return found, nil
	}
	s.mu.Unlock()
	c, err := s.Dial(target, patience)
	if err != nil {
		return nil, err
	}
	return &sender{Conn: c, answers: bufio.NewReader(c), out: []byte{entriesMark}}, nil
}

// rest keeps a stream for the next who sends there.
func (s *streams) rest(target hraft.ServerAddress, idle *sender) {
	s.mu.Lock()
	keeps := s.open != nil && len(s.idle[target]) < streamPool
	if keeps {
		s.idle[target] = append(s.idle[target], idle)
	}
	s.mu.Unlock()
	if !keeps {
		_ = idle.Close() // nothing is under way
	}
}

// anew sends once more as long as that breaks off: a stream that was kept may
// lead to the process that a member was before it was started again, and a
// member that leads no more, or is wanted for a leader, would be lost for as
// long as an election takes. What arrives twice does nothing more.
func anew(send func() error) error {
	err := send()
	for range streamPool {
		if !brokenOff(err) {
			break
		}
		err = send()
	}
	return err
}

// brokenOff says whether the other end of a stream is gone; one that was never
// reached is not.
func brokenOff(err error) bool {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return !errors.Is(err, ErrUnreached)
		}
	}
	return false
}

// exchange sends entries and waits for the answer.
func (t *transport) exchange(target hraft.ServerAddress, request *hraft.AppendEntriesRequest, answer *hraft.AppendEntriesResponse) error {
	return anew(func() error { return t.exchangeOnce(target, request, answer) })
}

func (t *transport) exchangeOnce(target hraft.ServerAddress, request *hraft.AppendEntriesRequest, answer *hraft.AppendEntriesResponse) error {
	s, err := t.streams.sender(target, t.patience)
	if err != nil {
		return err
	}
	message, err := s.ask(request, t.patience)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	t.streams.rest(target, s)
	return decodeEntriesAnswer(message, answer)
}

func (s *sender) ask(request *hraft.AppendEntriesRequest, patience time.Duration) ([]byte, error) {
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	out := appendRequest(s.out, request)
	if s.out = out[:0]; cap(out) > maxKeptBytes {
		s.out = nil
	}
	if _, err := s.Write(out); err != nil {
		return nil, err
	}
	return readMessage(s.answers, maxAnswerBytes)
}

const (
	maxKeptBytes   = 1 << 20 // of a buffer
	maxAnswerBytes = 1 << 16 // of an answer: an error's text is all that varies
)

// serve answers what comes over a stream of entries, until it ends.
func (t *transport) serve(c net.Conn) {
	from, answers := bufio.NewReader(c), make(chan hraft.RPCResponse, 1)
	var out []byte
	for {
		message, err := readMessage(from, maxEntriesBytes)
		if err != nil {
			return // the sender makes another
		}
		request, err := decodeRequest(message)
		if err != nil {
			t.log.Warn("raft: stream of entries closed", "cause", err)
			return
		}
		select {
		case t.inbox <- hraft.RPC{Command: request, RespChan: answers}:
		case <-t.ended:
			return
		}
		select {
		case a := <-answers:
			out = appendEntriesAnswer(out[:0], a.Response.(*hraft.AppendEntriesResponse), a.Error)
		case <-t.ended:
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// collect passes on what comes over hraft's own streams.
func (t *transport) collect() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			t.let(rpc)
			select {
			case t.inbox <- rpc:
			case <-t.ended:
				return
			}
		case <-t.ended:
			return
		}
	}
}

// Consumer is where hraft reads what other members say.
func (t *transport) Consumer() <-chan hraft.RPC { return t.inbox }
