// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"net"
)

// preface is how every HTTP/2 connection begins. No HTTP/1.1 request begins
// with its first four bytes: PRI is a method that RFC 9113 reserves.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// sniff reads until it is certain whether the client speaks HTTP/2, and
// returns a connection that gives the bytes read once more.
func sniff(c net.Conn) (http2 bool, _ net.Conn, _ error) {
	var head [len(preface)]byte
	seen := 0
	for seen < len(preface) {
		n, err := c.Read(head[seen:])
		seen += n
		if !bytes.HasPrefix([]byte(preface), head[:seen]) {
			return false, &replay{c, head[:seen]}, nil
		}
		if err != nil {
			return false, nil, err
		}
	}
	return true, &replay{c, head[:seen]}, nil
}

// replay is a connection some of whose bytes were read in advance. One
// goroutine reads from it, as from the connections it stands for.
type replay struct {
	net.Conn
	head []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}
