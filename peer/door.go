// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
)

const (
	raftProtocol = "cleat-raft/1"
	callProtocol = "h2"

	// handshakeLimit is how long a stranger may hold a place at the door.
	handshakeLimit = 10 * time.Second
	// handshakes is how many places there are, and entries how many of those who
	// join are let in at once: they have shown nothing yet.
	handshakes = 64
	entries    = 16
)

// Trust is who is let in, and what is shown: *pki.Authority.
type Trust interface {
	PeerDoor() *tls.Config
	PeerDialer(member uint64) *tls.Config
	// Revoked says of a certificate that was let in that it would not be any more.
	Revoked(*x509.Certificate) bool
	// Doubted is told that another member refuses the certificate of this one.
	Doubted()
}

// Services are what there is behind the door. All are required.
type Services struct {
	// Answer is raft's: [raft.Node.Answer].
	Answer func(ctx context.Context, from uint64, request []byte) ([]byte, error)
	// Receive is raft's: [raft.Node.Receive].
	Receive func(ctx context.Context, from uint64, state io.Reader) error
	// Members registers what members may call, Entry what whoever joins may.
	Members, Entry func(grpc.ServiceRegistrar)

	// Refused is told whom the door refused, and logs it. Nil: the door does.
	Refused func(reason, remote string, err error)
}

// Door is a member's peer door and its way to the others. It implements
// raft.Network, and is closed by the node. All methods may be called
// concurrently.
type Door struct {
	log     *slog.Logger
	metrics *metrics
	links   *links

	opened  chan struct{} // closed by Open: trust is there
	trust   Trust
	members *grpc.Server
	entry   *grpc.Server
	refused func(reason, remote string, err error) // nil: nobody is told

	streams chan net.Conn // raft's, which arrived
	calls   *handoff      // connections for members, and for entry
	joins   *handoff
	places  chan struct{} // one for each handshake under way

	mu        sync.Mutex
	closing   bool
	listeners []net.Listener
	clients   map[target]*client

	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup
}

var _ raft.Network = (*Door)(nil)

// New returns a door that is closed still: nobody is reached, and nobody gets
// in, until Open.
func New(log *slog.Logger, registry prometheus.Registerer) *Door {
	d := &Door{
		log: log, opened: make(chan struct{}), links: newLinks(),
		streams: make(chan net.Conn), calls: newHandoff(), joins: newHandoff(),
		places: make(chan struct{}, handshakes), clients: map[target]*client{},
	}
	d.life, d.end = context.WithCancel(context.Background())
	d.metrics = newMetrics(registry, d.links)
	return d
}

// Open begins to let in and to dial. It is called once; the listeners are
// closed with the door.
func (d *Door) Open(trust Trust, s Services, listeners ...net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		for _, l := range listeners {
			_ = l.Close() // nobody was let in
		}
		return
	}
	d.trust, d.listeners = trust, listeners
	d.members, d.entry = memberServer(s), entryServer(s)
	d.refused = s.Refused
	d.work.Go(func() { _ = d.members.Serve(d.calls) }) // ends with the handoff, and says only that
	d.work.Go(func() { _ = d.entry.Serve(d.joins) })
	d.work.Go(d.remake)
	for _, l := range listeners {
		d.work.Go(func() { d.accept(l) })
	}
	close(d.opened)
}

// Listen lets in by a further listener, of a door that is open. It is closed with
// the door.
func (d *Door) Listen(l net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		_ = l.Close() // nobody was let in
		return
	}
	d.listeners = append(d.listeners, l)
	d.work.Go(func() { d.accept(l) })
}

// accept lets in until the listener is closed. What else goes wrong there, such
// as too many open files, passes.
func (d *Door) accept(l net.Listener) {
	for {
		raw, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.log.Warn("peer door: accept", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-d.life.Done():
				return
			}
			continue
		}
		select {
		case d.places <- struct{}{}:
		case <-d.life.Done():
			_ = raw.Close()
			return
		}
		d.work.Go(func() {
			defer func() { <-d.places }()
			d.admit(raw)
		})
	}
}

// admit shakes hands and hands the connection over to whom it is for.
func (d *Door) admit(raw net.Conn) {
	ctx, cancel := context.WithTimeout(d.life, handshakeLimit)
	defer cancel()
	l, err := d.shakeHands(ctx, raw)
	if err != nil {
		_ = raw.Close() // refused
		if d.life.Err() == nil {
			reason := cmp.Or(reasonOf(err), "handshake")
			d.metrics.refused.WithLabelValues(reason).Inc()
			d.tell(reason, raw.RemoteAddr().String(), err)
		}
		return
	}
	switch {
	case l.protocol == raftProtocol:
		select {
		case d.streams <- l:
		case <-d.life.Done():
			_ = l.Close()
		}
	case l.protocol == callProtocol:
		d.calls.give(l)
	default:
		d.joins.give(l)
	}
}

func (d *Door) shakeHands(ctx context.Context, raw net.Conn) (*link, error) {
	l := &link{raw: raw, opened: time.Now()}
	config := d.trust.PeerDoor()
	config.NextProtos = []string{raftProtocol, callProtocol}
	show := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		shown, err := show(hello)
		l.bounded(shown)
		return shown, err
	}
	c := tls.Server(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	l.Conn, l.protocol = c, c.ConnectionState().NegotiatedProtocol
	switch l.protocol {
	case pki.JoinProtocol:
		if d.links.count(func(l *link) bool { return l.member == 0 }) >= entries {
			return nil, errCrowded
		}
	case raftProtocol, callProtocol:
		var err error
		if l.member, err = pki.MemberOf(c.ConnectionState()); err != nil {
			return nil, err
		}
		l.shown = c.ConnectionState().PeerCertificates[0]
		l.until = earlier(l.until, l.shown.NotAfter)
	default:
		return nil, fmt.Errorf("peer: a member that speaks none of %s, %s", raftProtocol, callProtocol)
	}
	return l, d.keep(l)
}

var errCrowded = errors.New("peer: as many machines as may are joining already")

// farewell is how long answers may take to get out of a door that closes.
const farewell = 100 * time.Millisecond

// Close ends all connections and lets nobody in any more. What has been
// answered gets out; it does not wait for those who are being answered still.
func (d *Door) Close() error {
	err := d.close()
	d.work.Wait()
	return err
}

func (d *Door) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return nil
	}
	d.closing = true
	d.end()
	var errs []error
	for _, l := range d.listeners {
		errs = append(errs, l.Close())
	}
	d.links.close(func(l *link) bool { return l.protocol == raftProtocol })
	if d.members != nil {
		gone := make(chan struct{})
		go func() { d.members.GracefulStop(); close(gone) }()
		select {
		case <-gone:
		case <-time.After(farewell):
		}
	}
	d.calls.Close()
	d.joins.Close()
	d.links.shut()
	for _, c := range d.clients {
		errs = append(errs, c.conn.Close())
	}
	if d.members != nil {
		go d.members.Stop() // their handlers end with their connections
		go d.entry.Stop()
	}
	return errors.Join(errs...)
}

// Drop ends the connections with members whose certificates do not count any
// more. The handshake refuses new ones.
func (d *Door) Drop(revoked func(*x509.Certificate) bool) {
	d.links.close(func(l *link) bool { return l.shown != nil && revoked(l.shown) })
}

// keep notes a connection, and then that it may stay: Drop may have passed since
// hands were shaken.
func (d *Door) keep(l *link) error {
	if err := d.links.add(l); err != nil {
		return err
	}
	if l.shown != nil && d.trust.Revoked(l.shown) {
		_ = l.Close() // nothing was sent
		return errRevoked
	}
	return nil
}

// errRevoked has the reason that the handshake itself gives for it.
var errRevoked = refusedRevoked{}

type refusedRevoked struct{}

func (refusedRevoked) Error() string {
	return "peer: the certificate was revoked, or its member removed"
}
func (refusedRevoked) Reason() string { return pki.ReasonRevoked }

func reasonOf(err error) string {
	if errors.Is(err, errRevoked) {
		return errRevoked.Reason()
	}
	return pki.RefusalReason(err)
}

// tell tells of a connection that was refused, once.
func (d *Door) tell(reason, remote string, err error) {
	if d.refused != nil {
		d.refused(reason, remote, err)
		return
	}
	d.log.Warn("peer door: connection refused", "reason", reason, "remote", remote, "err", err)
}
