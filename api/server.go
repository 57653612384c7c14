// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
	"github.com/cleatd/cleat/watch"
)

// Node is the part of *raft.Node that requests need.
type Node interface {
	Propose(ctx context.Context, command []byte) (result []byte, err error)
	Sync(ctx context.Context) error
	Status() raft.Status
}

// Keeper is the part of *lease.Keeper that requests need.
type Keeper interface {
	Renew(ctx context.Context, id int64) (ttl int64, err error)
	Remaining(id int64) (time.Duration, error)
}

// Config is what a [Server] is made of. All parts are required unless the
// comment says otherwise.
type Config struct {
	Node    Node
	Machine *state.Machine
	Hub     *watch.Hub
	Keeper  Keeper

	// Ask passes a question to the leader, whose daemon answers it by
	// AnswerLease; nil: this member is the only one.
	Ask func(ctx context.Context, question []byte) ([]byte, error)

	Members             Members
	ClusterID, MemberID uint64
	Version             string // cleat's own; what clients take for etcd's is fixed

	MinLeaseTTL    int64 // seconds
	RequestTimeout time.Duration
	Limits         // as the server begins; see SetLimits

	// Passwords hashes and checks them.
	Passwords *auth.Passwords
	// JWT makes and reads tokens; nil: they are simple ones.
	JWT *auth.JWT

	// Room says whether a write may take so many bytes; nil: always. It may
	// have to wait for agreement before it says no.
	Room func(ctx context.Context, bytes int) bool
	// Snapshot makes a snapshot of this member's state; nil: none. Its error
	// is told to the client.
	Snapshot func(context.Context) (Snapshot, error)
	// Disk says whether this member's disk has room, which Room takes into
	// account, and which is told as its own NOSPACE; nil: always.
	Disk func() bool
	// SocketUsers decides who may use the Unix socket. Its error is told to
	// the caller who is refused.
	SocketUsers func(uid uint32, gids []uint32) (state.Identity, error)
	// Revoked says of a client certificate that was let in that it would not be
	// any more; nil: none ever is. See Drop.
	Revoked func(*x509.Certificate) bool
	// Refused is told whom the TLS doors refused, and logs it; nil: the server
	// does.
	Refused func(reason, remote string, err error)
	// RegisterAdmin adds services to the socket door; nil: none. Their calls
	// come from callers who are root.
	RegisterAdmin func(grpc.ServiceRegistrar)

	Tracer     trace.Tracer // makes a span of each request and stream; nil: none
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
	Gatherer   prometheus.Gatherer   // served at /metrics; nil: nothing is
}

// Server answers clients at any number of doors. Its methods may be called
// concurrently.
type Server struct {
	config   Config
	log      *slog.Logger
	metrics  *metrics
	tokens   tokens
	header   header
	patience *patience
	fair     *fairness
	streams  streams
	guests   guests // those of the TLS doors
	healthy  *health.Server

	// network serves the TLS door and the gateway, local the socket, which
	// has the admin services too.
	network, local reception
	web            *http.Server
	webIn          *handoff
	gateway        *gateway
	startOnce      sync.Once
	group          sync.WaitGroup // doors, servers and whatever requests leave running
	hall           hall
	talks          talks

	base    context.Context // ends when Stop has waited long enough
	endBase context.CancelFunc

	limits   atomic.Pointer[Limits] // written by New and SetLimits
	changing sync.Mutex             // held by SetLimits

	mu        sync.Mutex     // guards what follows
	listeners []net.Listener // the doors that are open
	retired   []*desk        // that have connections still
	stopped   bool
}

// New returns a server that listens nowhere yet.
func New(c Config) (*Server, error) {
	if c.Node == nil || c.Machine == nil || c.Hub == nil || c.Keeper == nil || c.Members == nil || c.Passwords == nil || c.Logger == nil {
		return nil, errors.New("api: a part is missing in the configuration")
	}
	s := &Server{config: c, log: c.Logger, metrics: newMetrics(c.Registerer), tokens: c.Machine.Tokens(), healthy: health.NewServer()}
	s.base, s.endBase = context.WithCancel(context.Background())
	s.hall.open(s.base)
	s.patience = &patience{base: s.base, limit: c.RequestTimeout}
	s.header = newHeader(c.ClusterID, c.MemberID, newTerm(func() uint64 { return c.Node.Status().Term }).current)
	s.fair = newFairness(cmp.Or(c.MemoryBytes, defaultMemory), runtime.GOMAXPROCS(0), s.metrics, c.Logger)
	s.fair.register(c.Registerer)
	s.webIn = newHandoff("http")
	s.limits.Store(&c.Limits)
	if c.Registerer != nil {
		c.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "etcd_debugging_auth_revision", Help: "The revision of users and roles.",
		}, func() float64 { return float64(c.Machine.Rules().Revision) }))
	}
	s.network.Store(s.newNetwork(c.MaxRequestBytes))
	s.local.Store(s.newLocal(c.MaxRequestBytes))
	var err error
	if s.gateway, err = newGateway(s.network.give, s.mostText, s.fair); err != nil {
		return nil, fmt.Errorf("make the JSON gateway: %w", err)
	}
	s.web = s.newWeb()
	return s, nil
}

// revision is the store's newest.
func (s *Server) revision() int64 { return s.config.Machine.Store().Revision() }

// start begins to serve what the doors will hand over.
func (s *Server) start() {
	s.startOnce.Do(func() {
		s.staff(s.network.Load())
		s.staff(s.local.Load())
		s.group.Go(func() { s.ended("http", s.web.Serve(s.webIn)) })
		s.group.Go(s.followLeader)
	})
}

// ended logs a server that stopped serving although nobody asked it to.
func (s *Server) ended(server string, err error) {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if !stopped {
		s.log.Error("a server ended by itself", "server", server, "err", err)
	}
}

// leaderPatience is how often the leader is looked for, and missing it three
// times in a row ends the streams of clients that insist on one: to reconnect
// costs more than to wait.
const leaderPatience = time.Second

func (s *Server) followLeader() {
	tick := time.NewTicker(leaderPatience)
	defer tick.Stop()
	for missing := 0; ; {
		select {
		case <-s.base.Done():
			return
		case <-tick.C:
		}
		missing++
		if s.config.Node.Status().Leader != 0 {
			missing = 0
		}
		if missing >= 3 {
			s.streams.loseLeader()
		}
	}
}

// listen notes an open door, so that Stop can close it. It is false after Stop.
func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.hall.doors.Add(1)
	s.listeners = append(s.listeners, l)
	return true
}
