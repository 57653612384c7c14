// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cleatd/cleat/raft"
)

const (
	// reachLimit bounds a way to another member. One that is alive answers in
	// far less, and raft tries again.
	reachLimit = 2 * time.Second
	// aliveAfter is how long a silent connection is trusted: the kernel then asks
	// each second, three times.
	aliveAfter = 2 * time.Second
	// maxCallBytes is the largest call: raft's largest command, with room.
	maxCallBytes = 64 << 20
	// window is how much of a call may be on its way. A fixed one needs no
	// measuring of the link.
	window = 4 << 20
)

// Dial opens a stream of raft's messages to a member.
func (d *Door) Dial(ctx context.Context, member uint64, address string) (net.Conn, error) {
	l, err := d.dial(ctx, member, address, raftProtocol)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (d *Door) dial(ctx context.Context, member uint64, address, protocol string) (*link, error) {
	select {
	case <-d.opened:
	default:
		return nil, fmt.Errorf("%w: the peer door is not open yet", raft.ErrUnreached)
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	free := context.AfterFunc(d.life, cancel)
	defer free()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveAfter, Interval: time.Second, Count: 3}}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", raft.ErrUnreached, err)
	}
	l := &link{raw: raw, member: member, protocol: protocol, dialed: true, opened: time.Now()}
	config := d.trust.PeerDialer(member)
	config.NextProtos = []string{protocol}
	show := config.GetClientCertificate
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		shown, err := show(r)
		l.bounded(shown)
		return shown, err
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // nothing was sent
		return nil, fmt.Errorf("%w: greet member %s at %s: %w", raft.ErrUnreached, memberText(member), address, err)
	}
	l.shown, l.doubted = c.ConnectionState().PeerCertificates[0], d.trust.Doubted
	l.Conn, l.until = c, earlier(l.until, l.shown.NotAfter)
	if err := d.keep(l); err != nil {
		_ = raw.Close() // nothing was sent
		return nil, err
	}
	return l, nil
}

// Accept returns the streams that other members opened.
func (d *Door) Accept() (net.Conn, error) {
	select {
	case c := <-d.streams:
		return c, nil
	case <-d.life.Done():
		return nil, net.ErrClosed
	}
}

// Call passes a request to a member's raft.
func (d *Door) Call(ctx context.Context, member uint64, address string, request []byte) ([]byte, error) {
	answer := new(wrapperspb.BytesValue)
	err := d.Invoke(ctx, member, address, callMethod, wrapperspb.Bytes(request), answer)
	if err != nil && !errors.Is(err, raft.ErrUnreached) {
		// A status of this connection is not one for the client who waits.
		err = fmt.Errorf("peer: %s", status.Convert(err).Message())
	}
	return answer.GetValue(), err
}

// Invoke calls a method of a member's gRPC services. The error is
// raft.ErrUnreached if the request certainly did not get there.
func (d *Door) Invoke(ctx context.Context, member uint64, address, method string, request, answer any) error {
	c, err := d.client(target{member, address})
	if err != nil {
		return fmt.Errorf("%w: %w", raft.ErrUnreached, err)
	}
	defer c.uses.Done()
	sent := new(atomic.Bool)
	err = c.conn.Invoke(context.WithValue(ctx, sentKey{}, sent), method, request, answer)
	if err != nil && !sent.Load() {
		return fmt.Errorf("%w: %s", raft.ErrUnreached, status.Convert(err).Message())
	}
	return err
}

type target struct {
	member  uint64
	address string
}

// client is the way of calls to one member at one address.
type client struct {
	conn *grpc.ClientConn
	uses sync.WaitGroup // calls under way
	link atomic.Pointer[link]
}

// client returns the way to a member, with one more use.
func (d *Door) client(t target) (*client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return nil, net.ErrClosed
	}
	c, known := d.clients[t]
	if !known {
		c = new(client)
		var err error
		if c.conn, err = d.connect(c, t); err != nil {
			return nil, err
		}
		for old, stays := range d.clients { // the member has moved
			if old.member == t.member && t.member != 0 {
				d.letGo(old, stays)
			}
		}
		d.clients[t] = c
	}
	c.uses.Add(1)
	return c, nil
}

func (d *Door) connect(c *client, t target) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+t.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // over the connection, which is TLS
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			l, err := d.dial(ctx, t.member, t.address, callProtocol)
			if err != nil {
				return nil, err
			}
			c.link.Store(l)
			return l, nil
		}),
		grpc.WithStatsHandler(sentHandler{}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxCallBytes), grpc.MaxCallSendMsgSize(maxCallBytes)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: reachLimit,
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: aliveAfter, PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
	)
}

// letGo gives a client no more calls, and closes it when those under way have
// ended. The caller holds mu.
func (d *Door) letGo(t target, c *client) {
	if d.clients[t] == c {
		delete(d.clients, t)
	}
	go func() {
		c.uses.Wait()
		_ = c.conn.Close() // no call is left to hear of it
	}()
}

// retire replaces the client of a connection that gets stale. The connection
// no longer counts as one to be replaced.
func (d *Door) retire(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, c := range d.clients {
		if c.link.Load() == l {
			d.letGo(t, c)
		}
	}
	d.links.age(l)
}

// sentHandler notes when a request has been given to the connection.
type sentHandler struct{}

type sentKey struct{}

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, sending := s.(*stats.OutPayload); !sending {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}

func memberText(member uint64) string { return fmt.Sprintf("%016x", member) }
