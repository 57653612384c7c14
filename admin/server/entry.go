// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// Entry implements admin.EntryServer. It is safe for concurrent use.
type Entry struct {
	admin.UnimplementedEntryServer

	authority  *pki.Authority
	admissible func(context.Context, *admin.AdmitRequest, pki.TokenInfo) error
	log        *slog.Logger
}

// NewEntry returns an entry to the cluster. A machine whose token is good, and
// which admissible has nothing against, is admitted; the token's use is counted
// only then. What admissible returns goes to the machine as it is, so it should
// be a status that says what to do.
func NewEntry(a *pki.Authority, admissible func(context.Context, *admin.AdmitRequest, pki.TokenInfo) error, log *slog.Logger) *Entry {
	return &Entry{authority: a, admissible: admissible, log: log}
}

// Register adds the service to a server of connections that speak
// pki.JoinProtocol, and only of those.
func (e *Entry) Register(r grpc.ServiceRegistrar) { admin.RegisterEntryServer(r, e) }

// Admit gives a machine that has a token its identity.
func (e *Entry) Admit(ctx context.Context, r *admin.AdmitRequest) (*admin.AdmitResponse, error) {
	t, err := pki.ParseToken(r.Token)
	if err != nil {
		return nil, e.refuse(ctx, err, "")
	}
	request := pki.JoinRequest{Token: t, CSR: r.Csr, Name: r.Name, Hosts: r.Hosts, Time: r.Time.AsTime()}
	info, err := e.authority.CheckJoin(ctx, request)
	if err != nil {
		return nil, e.refuse(ctx, err, t.ID()[:16])
	}
	if err := e.admissible(ctx, r, info); err != nil {
		return nil, e.refuse(ctx, err, t.ID()[:16])
	}
	m, err := e.authority.Admit(ctx, request, newMember())
	if err != nil {
		return nil, e.refuse(ctx, err, t.ID()[:16])
	}
	return &admin.AdmitResponse{
		ClusterId: m.ClusterID, MemberId: m.MemberID, Learner: m.Role == pki.RoleLearner,
		ChainPem: m.Chain, ClusterKey: m.ClusterKey, Ca: m.CA,
	}, nil
}

// refuse tells the administrator who was refused, and the machine why. The token
// is the beginning of its id, "" if what the machine showed is none.
func (e *Entry) refuse(ctx context.Context, err error, t string) error {
	remote := ""
	if p, known := peer.FromContext(ctx); known {
		remote = p.Addr.String()
	}
	e.authority.Refused(ctx, pki.Denial{
		What: "machine not admitted", Door: "join", Reason: pki.ReasonNotAdmitted, Remote: remote, Token: t, Err: err,
	})
	if _, worded := status.FromError(err); worded {
		return err
	}
	return fault(e.log, "Admit", err)
}

// newMember returns an id that no member ever had.
func newMember() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}
