// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What strangers may do. Those behind one address share it; an IPv6 address
// stands for its /64, which is one customer's.
const (
	maxGuests     = 1024 // connections at once
	maxGuestsEach = 64   // of one address

	arrivalsPerCore = 50 // handshakes a second of all, for each core: some 4 % of it
	arrivalsEach    = 20 // of one address
	requestsEach    = 20
	writesEach      = 5 // requests that may write

	burst     = 10              // seconds' worth of one address that may come at once
	burstAll  = 2               // seconds' worth of all
	forgotten = 2 * time.Minute // after which an address begins anew
	maxKnown  = 1 << 16         // addresses that are remembered
)

// bucket is how much is left of so much a second.
type bucket struct {
	left float64
	seen time.Time
}

func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.seen.IsZero() {
		b.left = rate * burst
	}
	b.left = math.Min(rate*burst, b.left+rate*max(now.Sub(b.seen), 0).Seconds())
	b.seen = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// guest is what is known of one address.
type guest struct {
	here                       int
	arrivals, requests, writes bucket
}

// guests bounds connections, handshakes and requests.
type guests struct {
	turns   chan struct{} // holds one for each handshake that is computed
	refused *prometheus.CounterVec

	mu       sync.Mutex
	here     int                   // under mu
	arrivals bucket                // under mu
	known    map[netip.Addr]*guest // under mu
	swept    time.Time             // under mu
}

func newGuests(refused *prometheus.CounterVec) *guests {
	return &guests{
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/4)), refused: refused,
		known: make(map[netip.Addr]*guest),
	}
}

// ofLocked returns what is known of an address, or nil if too many are.
func (g *guests) ofLocked(from netip.Addr, now time.Time) *guest {
	if now.Sub(g.swept) > forgotten {
		g.swept = now
		for address, one := range g.known {
			if one.here == 0 && now.Sub(one.arrivals.seen) > forgotten {
				delete(g.known, address)
			}
		}
	}
	one := g.known[from]
	if one == nil && len(g.known) < maxKnown {
		one = new(guest)
		g.known[from] = one
	}
	return one
}

// enter is false if the address may not come now.
func (g *guests) enter(from netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.ofLocked(from, now)
	if g.here >= maxGuests || one == nil || one.here >= maxGuestsEach || !one.arrivals.take(now, arrivalsEach, burst) ||
		!g.arrivals.take(now, arrivalsPerCore*float64(runtime.GOMAXPROCS(0)), burstAll) {
		g.refused.WithLabelValues("connection").Inc()
		return false
	}
	g.here++
	one.here++
	return true
}

func (g *guests) leave(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.here--
	if one := g.known[from]; one != nil {
		one.here--
	}
}

// request is false if the address asks too often.
func (g *guests) request(from netip.Addr, writes bool, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.ofLocked(from, now)
	if one == nil || !one.requests.take(now, requestsEach, burst) || writes && !one.writes.take(now, writesEach, burst) {
		g.refused.WithLabelValues("request").Inc()
		return false
	}
	return true
}

func addressOf(text string) netip.Addr {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{} // no network: all of them are one
	}
	address := at.Addr().Unmap().WithZone("")
	if address.Is6() {
		if whole, err := address.Prefix(64); err == nil {
			return whole.Addr()
		}
	}
	return address
}

// paced refuses who asks too often.
func (d *Door) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.guests.request(addressOf(r.RemoteAddr), r.Method == http.MethodPost, time.Now()) {
			w.Header().Set("Retry-After", "5")
			problem(w, http.StatusTooManyRequests, "rateLimited", "too many requests from this address; try again in five seconds")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// doorListener lets in whom guests lets.
type doorListener struct {
	net.Listener
	guests *guests
	config *tls.Config
}

func (l *doorListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c.RemoteAddr().String())
		if !l.guests.enter(from, time.Now()) {
			_ = c.Close() // nothing was said
			continue
		}
		return tls.Server(&guestConn{Conn: c, guests: l.guests, from: from}, l.config), nil
	}
}

// guestConn takes a turn when the other side has said hello, and gives it back
// with the first flight of the answer: what lies between is all that is to be
// computed for a stranger. Waiting for the network holds no turn.
type guestConn struct {
	net.Conn
	guests *guests
	from   netip.Addr

	mu     sync.Mutex
	turn   bool // under mu: it holds one
	closed bool // under mu
}

func awaitTurn(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if c, ok := hello.Conn.(*guestConn); ok {
		return nil, c.await(hello.Context())
	}
	return nil, nil
}

func (c *guestConn) await(ctx context.Context) error {
	select {
	case c.guests.turns <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = true
	return nil
}

func (c *guestConn) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn {
		c.turn = false
		<-c.guests.turns
	}
}

func (c *guestConn) Write(b []byte) (int, error) {
	c.giveBack()
	return c.Conn.Write(b)
}

func (c *guestConn) Close() error {
	c.giveBack()
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		c.guests.leave(c.from)
	}
	return c.Conn.Close()
}
