// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/x509"
	"net"
	"sync"
)

// guests are the connections that came in with a certificate, so that they can be
// ended when it does not count any more.
type guests struct {
	mu  sync.Mutex
	all map[*conn]guest // under mu
}

type guest struct {
	raw   net.Conn // under TLS
	shown *x509.Certificate
}

func (g *guests) add(c *conn, who guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[*conn]guest{}
	}
	g.all[c] = who
}

func (g *guests) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, c)
}

// find returns those whose certificate was revoked.
func (g *guests) find(revoked func(*x509.Certificate) bool) []net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []net.Conn
	for _, who := range g.all {
		if revoked(who.shown) {
			found = append(found, who.raw)
		}
	}
	return found
}

// refusedRevoked is the refusal of a certificate that was revoked while hands were
// shaken with it. It has the reason that the handshake itself has.
type refusedRevoked struct{}

func (refusedRevoked) Error() string  { return "tls: the client certificate was revoked" }
func (refusedRevoked) Reason() string { return "revoked" }

var errRevoked = refusedRevoked{}

// welcome notes a connection. It is false if the certificate has been revoked
// since it was checked: Drop may have gone through the guests before this one was
// among them.
func (s *Server) welcome(c *conn, raw net.Conn, shown *x509.Certificate) bool {
	if s.config.Revoked == nil {
		return true
	}
	c.left = func() { s.guests.remove(c) }
	s.guests.add(c, guest{raw, shown})
	return !s.config.Revoked(shown)
}

// Drop ends the connections of the TLS doors whose certificates do not count any
// more: requests and streams end with them. It is called whenever Config.Revoked
// says so of others than before; what comes later is not let in.
func (s *Server) Drop(revoked func(*x509.Certificate) bool) {
	for _, raw := range s.guests.find(revoked) {
		_ = raw.Close() // without a farewell, for which a client that hangs would be waited for
	}
}
