// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
	"github.com/cleatd/cleat/state"
)

// gateway answers JSON over HTTP by asking grpc, over connections inside this
// process. Each identity has a connection of its own, which carries the
// identity as the connections of the doors do; so a request over HTTP can do
// neither more nor less than its caller, whatever its headers say.
type gateway struct {
	fair *fairness
	mux  *runtime.ServeMux
	give func(*conn)  // to grpc
	most func() int64 // bytes of a request's text

	// base ends when close breaks off the websockets that are left.
	base  context.Context
	cut   context.CancelFunc
	talks sync.WaitGroup // websockets; added to under mu, until closed

	mu     sync.Mutex // guards links and closed
	links  map[state.Identity]*link
	closed bool
}

// link is the connection of one identity.
type link struct {
	*grpc.ClientConn
	users int // HTTP requests under way; guarded by gateway.mu
}

// gatewayCopies is how often an answer lies in memory at once when it becomes
// JSON: as it was read, as it was received and decoded, and as text.
const gatewayCopies = 5

// maxIdleLinks is how many connections are kept for identities that ask
// nothing at present.
const maxIdleLinks = 64

// newGateway returns a gateway that gives its connections to grpc.
func newGateway(give func(*conn), most func() int64, fair *fairness) (*gateway, error) {
	g := &gateway{give: give, fair: fair, most: most, links: make(map[state.Identity]*link)}
	g.base, g.cut = context.WithCancel(context.Background())
	// etcd's options: names as in the .proto, zero values left out, 64-bit
	// numbers as strings, unknown fields ignored.
	g.mux = runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
		Marshaler: boundedJSON{&runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}, g.most},
	}))
	ctx := context.Background() // the registrations only pass it on
	err := errors.Join(
		gw.RegisterKVHandlerClient(ctx, g.mux, pb.NewKVClient(g)),
		gw.RegisterWatchHandlerClient(ctx, g.mux, pb.NewWatchClient(g)),
		gw.RegisterLeaseHandlerClient(ctx, g.mux, pb.NewLeaseClient(g)),
		gw.RegisterClusterHandlerClient(ctx, g.mux, pb.NewClusterClient(g)),
		gw.RegisterMaintenanceHandlerClient(ctx, g.mux, pb.NewMaintenanceClient(g)),
		gw.RegisterAuthHandlerClient(ctx, g.mux, pb.NewAuthClient(g)),
		recipe.RegisterLockHandlerClient(ctx, g.mux, recipe.NewLockClient(g)),
		recipe.RegisterElectionHandlerClient(ctx, g.mux, recipe.NewElectionClient(g)),
	)
	return g, err
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := httpCallerOf(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	l, err := g.acquire(who)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer g.release(who.identity, l)
	if websocket.IsWebSocketUpgrade(r) {
		g.converse(w, r)
		return
	}
	g.answer(w, r)
}

// answer asks grpc what the request asks. The caller's connection is held.
func (g *gateway) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v3/watch", "/v3/lease/keepalive":
		// These answer while their request may still be open, so nothing but its
		// parts is bounded (see boundedJSON).
		_ = http.NewResponseController(w).EnableFullDuplex() // unsupported: the request is read to its end first
	default:
		r.Body = http.MaxBytesReader(w, r.Body, g.most())
	}
	held := new(burden)
	defer func() { g.fair.answers.give(held.bytes.Load()) }()
	g.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), burdenKey{}, held)))
}

// burden is the memory of an answer that grpc has sent and JSON is made of.
type burden struct{ bytes atomic.Int64 }

type burdenKey struct{}

// weigh counts an answer until its HTTP request has ended. It is there already,
// so nobody is asked whether there is room; but others wait.
func (g *gateway) weigh(ctx context.Context, reply any) {
	held, known := ctx.Value(burdenKey{}).(*burden)
	message, ok := reply.(proto.Message)
	if !known || !ok {
		return
	}
	if size := int64(proto.Size(message)); size > copied {
		held.bytes.Add((gatewayCopies - 1) * size)
		g.fair.answers.used.Add((gatewayCopies - 1) * size)
	}
}

// boundedJSON bounds each value of a stream, which is held until it is whole, as
// the body of a request with one value is bounded. Whoever sends more gets no
// further; what was asked before is answered.
type boundedJSON struct {
	*runtime.JSONPb
	most func() int64
}

func (m boundedJSON) NewDecoder(r io.Reader) runtime.Decoder {
	bounded := &io.LimitedReader{R: r}
	whole := m.JSONPb.NewDecoder(bounded)
	return runtime.DecoderFunc(func(v any) error {
		bounded.N = m.most() + 1 // the body's own bound comes first, with a text of its own
		return whole.Decode(v)
	})
}

// acquire returns the caller's connection, which stays until it is released.
func (g *gateway) acquire(who *caller) (*link, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errStopping
	}
	if l := g.links[who.identity]; l != nil {
		l.users++
		return l, nil
	}
	c, err := grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			g.give(&conn{Conn: far, caller: &caller{identity: who.identity, account: g.fair.open(&g.fair.network, gatewayCopies)}})
			return near, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, err
	}
	l := &link{c, 1}
	g.links[who.identity] = l
	return l, nil
}

func (g *gateway) release(id state.Identity, l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.users--
	if l.users == 0 && len(g.links) > maxIdleLinks {
		delete(g.links, id)
		_ = l.Close() // nobody uses it
	}
}

// close waits for the websockets to end, breaks off those that are left when
// ctx ends, and ends the connections. Other HTTP requests have ended by then.
func (g *gateway) close(ctx context.Context) {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.talks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	g.cut()
	g.unlink()
	<-ended
}

// unlink ends the connections, and so the requests that wait for them.
func (g *gateway) unlink() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.links {
		_ = l.Close() // both ends are in this process
	}
	clear(g.links)
}

// Invoke and NewStream make the gateway a connection for generated clients:
// each call goes over the link of its caller.
func (g *gateway) Invoke(ctx context.Context, method string, request, reply any, opts ...grpc.CallOption) error {
	l, err := g.linkOf(ctx)
	if err != nil {
		return err
	}
	if err := l.Invoke(ctx, method, request, reply, opts...); err != nil {
		return err
	}
	g.weigh(ctx, reply)
	return nil
}

func (g *gateway) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l, err := g.linkOf(ctx)
	if err != nil {
		return nil, err
	}
	return l.NewStream(ctx, desc, method, opts...)
}

func (g *gateway) linkOf(ctx context.Context) (*link, error) {
	who, err := httpCallerOf(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.links[who.identity]
	if l == nil {
		return nil, errStopping
	}
	return l, nil
}
