// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection to or from another member, or from whoever joins.
type link struct {
	net.Conn                   // TLS, once hands are shaken
	raw      net.Conn          // what lies under it
	member   uint64            // who is at the other end; 0 is somebody who joins
	shown    *x509.Certificate // by the other end; nil: none
	protocol string
	dialed   bool   // from here
	doubted  func() // told that the other end refuses our certificate
	aged     bool   // under set.mu: a new one is in its place already

	opened time.Time
	until  time.Time // when the first of both certificates ends; zero: never
	cut    *time.Timer
	set    *links
}

// bounded notes that the connection was opened with the certificate.
func (l *link) bounded(c *tls.Certificate) {
	if c == nil || len(c.Certificate) == 0 {
		return
	}
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return // the handshake fails with it
		}
	}
	l.until = earlier(l.until, leaf.NotAfter)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// stale is when the side that dialed is to make a new connection: members renew
// their certificates well before nine tenths of their life.
func (l *link) stale() time.Time { return l.opened.Add(l.until.Sub(l.opened) / 10 * 9) }

// Read also notices that the other end refused this member's certificate: in TLS
// 1.3 who dials learns of it when it reads.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err != nil && l.dialed && refusedHere(err) {
		l.doubted()
	}
	return n, err
}

// refusedHere says that the other end's check of our certificate failed. crypto/tls
// has no type for it; a test holds the text in place.
func refusedHere(err error) bool {
	return strings.Contains(err.Error(), "remote error: tls: bad certificate")
}

// Close cuts the connection without a farewell, for which a member that hangs
// would have to be waited for.
func (l *link) Close() error {
	l.set.remove(l)
	return l.raw.Close()
}

// links are the connections that there are.
type links struct {
	expired atomic.Int64  // connections that lived until their certificate's end
	added   chan struct{} // holds one: there is a new connection

	mu     sync.Mutex
	all    map[*link]bool // under mu
	closed bool           // under mu
}

func newLinks() *links { return &links{added: make(chan struct{}, 1), all: map[*link]bool{}} }

// add also sets the end of the connection's life.
func (s *links) add(l *link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.all[l], l.set = true, s
	if !l.until.IsZero() {
		l.cut = time.AfterFunc(time.Until(l.until), func() {
			s.expired.Add(1)
			_ = l.Close()
		})
	}
	select {
	case s.added <- struct{}{}:
	default: // told already
	}
	return nil
}

func (s *links) remove(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, l)
	if l.cut != nil {
		l.cut.Stop()
	}
}

// find returns those that fit.
func (s *links) find(fits func(*link) bool) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*link
	for l := range s.all {
		if fits(l) {
			found = append(found, l)
		}
	}
	return found
}

func (s *links) count(fits func(*link) bool) int { return len(s.find(fits)) }

// succeeded says that there is a newer connection in the place of one.
func (s *links) succeeded(old *link) bool {
	return s.count(func(l *link) bool {
		return l.dialed && l.member == old.member && l.protocol == old.protocol && l.opened.After(old.opened)
	}) > 0
}

// age takes a connection out of those that get stale.
func (s *links) age(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.aged = true
}

// shut closes all, and lets none be added any more.
func (s *links) shut() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close(func(*link) bool { return true })
}

func (s *links) close(fits func(*link) bool) {
	for _, l := range s.find(fits) {
		_ = l.Close()
	}
}

// next returns the dialed connection that gets stale first.
func (s *links) next() *link {
	var first *link
	for _, l := range s.find(func(l *link) bool { return l.dialed && !l.aged && !l.until.IsZero() }) {
		if first == nil || l.stale().Before(first.stale()) {
			first = l
		}
	}
	return first
}

// remakeLook is how often connections are looked at, at most: lives of
// certificates are days. As long is one waited for in the place of another.
const remakeLook = time.Second

// remake replaces connections before their certificates end, one at a time:
// one that carries calls is no longer given new ones, and one that carries raft
// messages is cut, which raft answers with another.
func (d *Door) remake() {
	for {
		wait := remakeLook
		if l := d.links.next(); l != nil {
			if wait = min(wait, time.Until(l.stale())); wait <= 0 {
				d.log.Debug("peer door: connection made anew", "member", memberText(l.member), "protocol", l.protocol)
				d.replace(l)
				continue
			}
		}
		select {
		case <-time.After(wait):
		case <-d.life.Done():
			return
		}
	}
}

func (d *Door) replace(l *link) {
	if l.protocol == callProtocol {
		d.retire(l) // it lasts as long as its calls; nothing is missing
		return
	}
	_ = l.Close()
	d.awaitSuccessor(l)
}

// awaitSuccessor waits for raft to dial again, so that no more than one
// connection is missing, but not forever: it need not, and others get stale.
func (d *Door) awaitSuccessor(l *link) {
	enough := time.NewTimer(min(remakeLook, time.Until(l.until)/4))
	defer enough.Stop()
	for !d.links.succeeded(l) {
		select {
		case <-d.links.added:
		case <-enough.C:
			return
		case <-d.life.Done():
			return
		}
	}
}
