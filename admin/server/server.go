// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
)

// maxRequestBytes bounds a signing request; RSA of 8192 bits with a hundred
// names has 10 KiB.
const maxRequestBytes = 64 << 10

// Node is what Status tells of agreement.
type Node interface{ Status() raft.Status }

// Store is what Status tells of the data.
type Store interface {
	Size() (total, inUse int64)
	Revision() int64
	Compacted() int64
}

// Config is what a Server is given; all of it is required but PeerAddress,
// LoginAddress, CAMembers, Join, Recover, Reload, Alarms, Members, Metrics, Quota,
// DataDir and Logger.
type Config struct {
	Authority *pki.Authority
	Node      Node
	Store     Store
	Doors     func() *admin.Doors // the addresses that are really listened on
	Space     func() *admin.Space
	Quota     func() int64          // of the data; 0: none
	Alarms    func() []*admin.Alarm // those that are raised. Nil: none
	Metrics   prometheus.Gatherer   // nil: none

	// Members are those of the cluster as this member knows them and, but for its
	// own, as they tell themselves with the metrics that are wanted. Nil: it knows
	// none.
	Members func(ctx context.Context, metrics []string) []*admin.MemberStatus

	// PeerAddress is the host and port at which others reach the peer door, ""
	// if they cannot. Nil: they cannot.
	PeerAddress func() string

	// LoginAddress is the host and port at which clients log in, "" if they
	// cannot at this member. Nil: they cannot.
	LoginAddress func() string

	// CAMembers are the ids of the members that a rotation of the CA waits for. Nil:
	// none.
	CAMembers func() []uint64

	// Join has this member join another cluster; its errors are statuses, or
	// else faults of this machine. Nil: it cannot.
	Join func(context.Context, *admin.JoinRequest) (*admin.JoinResponse, error)

	// Recover has this member go on alone; its errors are statuses. Nil: it
	// cannot.
	Recover func(context.Context, *admin.RecoverRequest) (*admin.RecoverResponse, error)

	// Reload has this member read its settings again; its errors are statuses.
	// Nil: it cannot.
	Reload func(context.Context) (*admin.ReloadResponse, error)

	ClusterID, MemberID uint64
	Name, Version       string
	DataDir             string
	Logger              *slog.Logger // nil: none
}

// Server implements admin.AdminServer. It is safe for concurrent use.
type Server struct {
	admin.UnimplementedAdminServer

	config  Config
	log     *slog.Logger
	started time.Time
}

// New returns a server that counts its age from now.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{config: c, log: c.Logger, started: time.Now()}
}

// Register adds the service to a door, which must be the Unix socket's.
func (s *Server) Register(r grpc.ServiceRegistrar) { admin.RegisterAdminServer(r, s) }

// IssueCertificate signs a certificate for the caller's key.
func (s *Server) IssueCertificate(ctx context.Context, r *admin.IssueCertificateRequest) (*admin.IssueCertificateResponse, error) {
	chain, err := s.issue(ctx, r)
	if err != nil {
		s.config.Authority.Refused(ctx, pki.Denial{What: "certificate not issued", Door: "socket", Reason: pki.ReasonNotGiven, Err: err})
		return nil, fault(s.log, "IssueCertificate", err)
	}
	return &admin.IssueCertificateResponse{
		ChainPem:  pki.EncodePEM(chain...),
		BundlePem: s.config.Authority.Bundle(),
		NotAfter:  timestamppb.New(chain[0].NotAfter),
		Serial:    chain[0].SerialNumber.String(),
	}, nil
}

func (s *Server) issue(ctx context.Context, r *admin.IssueCertificateRequest) ([]*x509.Certificate, error) {
	profile, err := pki.ParseProfile(r.Profile)
	if err != nil {
		return nil, err
	}
	if len(r.Csr) > maxRequestBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", pki.ErrRequest, len(r.Csr), maxRequestBytes)
	}
	csr, err := x509.ParseCertificateRequest(r.Csr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pki.ErrRequest, err)
	}
	if r.TtlSeconds > math.MaxInt64/int64(time.Second) || r.TtlSeconds < 0 {
		return nil, fmt.Errorf("%w: %d seconds", pki.ErrTTL, r.TtlSeconds)
	}
	return s.config.Authority.Issue(ctx, csr, profile, time.Duration(r.TtlSeconds)*time.Second)
}
