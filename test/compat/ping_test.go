// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// HTTP/2 as it lies on the wire: no client of grpc's pings as often as this.
const (
	preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings = 4
	ping     = 6
	goAway   = 7
)

func frame(kind byte, payload []byte) []byte {
	head := make([]byte, 9, 9+len(payload)) // length, kind, flags, stream
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8)
	head[3] = kind
	return append(head, payload...)
}

// dial opens a connection that speaks HTTP/2.
func (s *side) dial() net.Conn {
	s.Helper()
	var conn net.Conn
	var err error
	switch {
	case s.socket != "":
		conn, err = net.Dial("unix", s.socket)
	case s.tls != nil:
		config := s.tls.Clone()
		config.NextProtos = []string{"h2"}
		conn, err = tls.Dial("tcp", s.address, config)
	default:
		conn, err = net.Dial("tcp", s.address)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	return conn
}

// A client that pings more often than it may is shown the door.
func TestTooManyPings(t *testing.T) {
	alike(t, both, func(s *side) {
		conn := s.dial()
		said := append([]byte(preface), frame(settings, nil)...)
		for range 5 {
			said = append(said, frame(ping, make([]byte, 8))...)
		}
		if _, err := conn.Write(said); err != nil {
			s.Fatal(err)
		}
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(conn, head); err != nil {
				s.Fatalf("%s: before the end was announced: %v", s.name, err)
			}
			payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
			if _, err := io.ReadFull(conn, payload); err != nil {
				s.Fatal(err)
			}
			if head[3] == goAway {
				s.note("too many pings", fmt.Sprintf("code %d: %s", binary.BigEndian.Uint32(payload[4:]), payload[8:]))
				return
			}
		}
	})
}
