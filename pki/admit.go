// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"
)

// maxJoinRequestBytes bounds the signing request of a machine that joins.
const maxJoinRequestBytes = 16 << 10

// JoinRequest is what a machine sends to join.
type JoinRequest struct {
	Token Token
	CSR   []byte // DER; only its key counts
	Name  string
	Hosts []string // names and addresses that others will reach it by
	Time  time.Time
}

// Admission is the answer: all that a member's Dir holds but its private key.
// It has the cluster key in it, so it is for the new member's eyes only.
type Admission struct {
	ClusterID, MemberID uint64
	Role                Role
	Chain               []byte // PEM: the member's certificate, the intermediate
	ClusterKey          []byte // as in Dir/cluster.key
	CA                  []byte // as in Dir/ca.json: the roots are in it
}

// CheckJoin says whether Admit would let the machine in now, and as what, and
// changes nothing. The caller has more to check before a use of the token is
// counted: the name, the address.
func (a *Authority) CheckJoin(ctx context.Context, r JoinRequest) (TokenInfo, error) {
	redemption, _, err := readJoin(r)
	if err != nil {
		return TokenInfo{}, err
	}
	return a.Check(ctx, redemption)
}

// Admit redeems the token and makes the machine's certificate. The machine
// becomes the member that the token names, or else the given one, which must be
// new; one that asks again with the same key keeps the id that it got first, so
// the id that counts is the admission's. The error is one of Redeem's, or
// ErrRequest, ErrKey or ErrName. Who is admitted is not yet a member of the
// consensus, and a member that was removed is never admitted again.
func (a *Authority) Admit(ctx context.Context, r JoinRequest, member uint64) (Admission, error) {
	redemption, csr, err := readJoin(r)
	if err != nil {
		return Admission{}, err
	}
	hosts, err := memberHosts(r.Name, r.Hosts)
	if err != nil {
		return Admission{}, err
	}
	if err := a.Locked(); err != nil {
		return Admission{}, err
	}
	ring := a.vault.ring()
	redemption.Member = member
	info, member, err := a.Redeem(ctx, redemption)
	if err != nil {
		return Admission{}, err
	}
	if a.config.Removed != nil && a.config.Removed(member) {
		return Admission{}, fmt.Errorf("%w: it let this machine in as member %s, which has been removed since", ErrTokenUsed, hexID(member))
	}
	// The machine must not go by a CA that is older than this use of the token, by
	// which a rotation knows that it may come.
	if err := a.refresh(ctx); err != nil {
		return Admission{}, err
	}
	i := a.ca()
	chain, err := i.sign(ctx, csr, Peer, memberSubject(a.config.ClusterID, member, hosts), i.lifeOf(a.terms.Load()))
	if err != nil {
		return Admission{}, fmt.Errorf("sign the certificate of member %s: %w", hexID(member), err)
	}
	a.metrics.issued.WithLabelValues(string(Peer)).Inc()
	e := eventOf(ActJoin, "member admitted", chain[0])
	e.Name, e.Token, e.Detail = r.Name, info.ID[:16], "as a "+string(info.Role)
	a.Audit(ctx, e)
	return Admission{
		ClusterID: a.config.ClusterID, MemberID: member, Role: info.Role,
		Chain: EncodePEM(chain...), ClusterKey: ring.encode(nil), CA: i.record.raw,
	}, nil
}

// readJoin checks what needs nothing but the request.
func readJoin(r JoinRequest) (Redemption, *x509.CertificateRequest, error) {
	if len(r.CSR) > maxJoinRequestBytes {
		return Redemption{}, nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrRequest, len(r.CSR), maxJoinRequestBytes)
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return Redemption{}, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := checkHolder(csr); err != nil {
		return Redemption{}, nil, err
	}
	if _, err := memberHosts(r.Name, r.Hosts); err != nil {
		return Redemption{}, nil, err
	}
	return Redemption{Token: r.Token, Key: csr.RawSubjectPublicKeyInfo, Time: r.Time}, csr, nil
}
