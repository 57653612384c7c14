// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	clusterKeyFile = "cluster.key"
	identityFile   = "member.pem"
	caFile         = "ca.json"
)

// Config is what an Authority is given.
type Config struct {
	Dir       string // of cluster.key, member.pem and ca.json; made with mode 0700
	ClusterID uint64
	MemberID  uint64
	Name      string   // this member's, beside localhost, 127.0.0.1 and ::1
	Hosts     []string // further names and addresses that others reach it by

	MemberTTL time.Duration // 0: DefaultMemberTTL
	ClientTTL time.Duration // 0: DefaultClientTTL; of certificates issued without a life

	// Removed says of a member that it was removed from the cluster: from then on
	// its certificate opens no door and its own doors are not gone through. It is
	// asked at every handshake, so it must answer from memory. Nil: none was. (It
	// does not ask who is a member, since a member that is behind does not know
	// the newest ones, and must let them bring it up to date.)
	Removed func(member uint64) bool

	// Offline makes Open do without the ledger if Dir has all it needs, as it has
	// once this member has opened or joined the CA: a member among several must
	// open its peer door before there can be a quorum. Run tells the ledger later.
	Offline bool

	// Credential is the file of systemd's credential with the cluster key, which is
	// then not kept in Dir. "": there is none.
	Credential string

	// Members are those of the agreement, who are to hold the cluster key. Nil: this
	// one alone. FetchKey asks them for a key that this member lacks. Nil: there is
	// nobody to ask.
	Members  func() []uint64
	FetchKey func(context.Context, KeyRequest) ([]byte, error)

	Ledger     Ledger
	Replica    Replica               // nil: this member follows nothing of the ledger
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none

	vault *vault // of Open
}

// Authority is the cluster's CA as this member has it, and this member's
// identity. It is safe for concurrent use.
type Authority struct {
	config  Config
	log     *slog.Logger
	metrics metrics
	vault   *vault

	// issuer is the CA as it is now; never nil after Open. Written by Open, and by
	// adopt under saving.
	issuer atomic.Pointer[issuer]

	// current is what handshakes use; never nil after Open. Written by Open, by
	// Run and by Reload.
	current atomic.Pointer[identity]

	// terms are what the next certificate will say; never nil. Written by Open and
	// by what Prepare returns, under saving.
	terms  atomic.Pointer[terms]
	saving sync.Mutex // held while a certificate or the CA is put in the place of another

	// unrecorded holds a token while the ledger may not know the certificate in
	// use. Open and renewals put it in, Run takes it out.
	unrecorded chan struct{}

	// unconfirmed holds a token while the cluster may not know which CA this member
	// goes by. What changes that puts it in, Run takes it out.
	unconfirmed chan struct{}

	// replaced holds a token when a reload, or another CA, has moved the renewal
	// that Run waits for.
	replaced chan struct{}

	chronicle *chronicle
	refusals  refusals
	revoked   revoked
	lists     atomic.Pointer[lists] // of revocation; nil: none yet. Written by Follow

	// keys holds a token when Run is to look after the cluster keys again.
	keys     chan struct{}
	rotating sync.Mutex // held while a key may be there that the ledger does not name yet
}

// Certificate is one of the certificates that this member stands on.
type Certificate struct {
	Kind string // "root", "intermediate" or "member"
	*x509.Certificate
}

// Open makes the CA if the ledger has none, and this member's key and
// certificate if it has none that it can serve with: it is missing, damaged,
// expired, or names other hosts. A member that cannot open the cluster's CA serves
// with the certificate that it has, and is [Authority.Locked]; it is an
// ErrClusterKey or ErrLocked if it has none. The error is ErrName for a bad name
// or host, ErrTTL for a bad life, ErrFormat for a CA of a newer version.
func Open(ctx context.Context, c Config) (*Authority, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	hosts, err := memberHosts(c.Name, c.Hosts)
	if err != nil {
		return nil, err
	}
	if c.MemberTTL, err = checkTTL(c.MemberTTL, DefaultMemberTTL); err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	if c.ClientTTL, err = checkTTL(c.ClientTTL, DefaultClientTTL); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	if c.vault, err = openVault(c); err != nil {
		return nil, err
	}
	a := &Authority{config: c, vault: c.vault, log: c.Logger, unrecorded: make(chan struct{}, 1), unconfirmed: make(chan struct{}, 1), replaced: make(chan struct{}, 1), keys: make(chan struct{}, 1)}
	a.terms.Store(&terms{hosts, c.MemberTTL})
	a.chronicle = newChronicle(c)
	if err := a.openRevoked(); err != nil {
		return nil, err
	}
	i, err := openCA(ctx, c)
	if err != nil {
		return nil, err
	}
	a.issuer.Store(i)
	a.metrics = newMetrics(c.Registerer)
	a.tellOpened()
	if err := a.openIdentity(ctx); err != nil {
		return nil, err
	}
	a.tellExpiry()
	return a, nil
}

func (a *Authority) openIdentity(ctx context.Context) error {
	if a.config.Offline {
		a.recordLater()
	}
	id, err := a.load()
	if err == nil {
		a.install(id)
		return nil
	}
	reason := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		reason = "there is none"
	}
	if locked := a.Locked(); locked != nil {
		return a.openLocked(id, locked, reason)
	}
	renew := a.renew
	if a.config.Offline {
		renew = a.renewUnrecorded
	}
	if err := renew(ctx); err != nil {
		return err
	}
	a.logIdentity("certificate made", "because", reason)
	a.noteIdentity(ActIssue, "certificate made", "because "+reason)
	return nil
}

// tellExpiry counts the ends of the CA that issues.
func (a *Authority) tellExpiry() {
	i := a.ca()
	a.metrics.expires("root", i.root)
	a.metrics.expires("intermediate", i.intermediate)
}

// install makes handshakes use the identity from now on, with what the CA as it
// is now has shown behind it.
func (a *Authority) install(id *identity) {
	id = id.shown(a.ca())
	a.current.Store(id)
	a.metrics.expires("member", id.certificate.Leaf)
	a.confirmLater()
}

func (a *Authority) logIdentity(what string, more ...any) {
	id := a.current.Load()
	leaf := id.certificate.Leaf
	a.log.Info(what, append([]any{"serial", leaf.SerialNumber.String(), "not_after", leaf.NotAfter, "renew_at", id.renew}, more...)...)
}

// Issue signs a certificate for the key of the request and records it. The
// chain is the certificate, then the intermediate, then what leads from there to
// the roots that clients hold. ttl 0 is the default. It
// refuses with ErrRequest, ErrKey, ErrName, ErrTTL or ErrProfile; any other
// error is the ledger's, and then the certificate may have been recorded though
// nobody has it.
func (a *Authority) Issue(ctx context.Context, csr *x509.CertificateRequest, p Profile, ttl time.Duration) ([]*x509.Certificate, error) {
	s, err := checkRequest(csr, p)
	if err != nil {
		return nil, err
	}
	if ttl, err = checkTTL(ttl, a.config.ClientTTL); err != nil {
		return nil, err
	}
	chain, err := a.ca().sign(ctx, csr, p, s, ttl)
	if err != nil {
		return nil, fmt.Errorf("sign a %s certificate: %w", p, err)
	}
	a.metrics.issued.WithLabelValues(string(p)).Inc()
	a.Audit(ctx, eventOf(ActIssue, "certificate issued", chain[0]))
	return chain, nil
}

// Bundle returns the roots in PEM: what a client must trust.
func (a *Authority) Bundle() []byte { return bytes.Clone(a.ca().bundle) }

// Certificates returns the certificates that this member stands on now. Of roots
// and intermediates the first is the one that issues; there are several while the
// CA is replaced.
func (a *Authority) Certificates() []Certificate {
	i := a.ca()
	var out []Certificate
	for _, root := range i.roots {
		out = append(out, Certificate{"root", root})
	}
	for _, g := range i.generations {
		out = append(out, Certificate{"intermediate", g.intermediate})
	}
	return append(out, Certificate{"member", a.current.Load().certificate.Leaf})
}
