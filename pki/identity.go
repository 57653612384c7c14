// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	randv2 "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// identity is this member's key and certificate, and when to renew it. It
// never changes.
type identity struct {
	certificate tls.Certificate
	renew       time.Time
	refused     bool // by the others, or it will be: it was revoked
}

func newIdentity(key crypto.Signer, chain []*x509.Certificate) *identity {
	id := &identity{certificate: tls.Certificate{PrivateKey: key, Leaf: chain[0]}}
	for _, c := range chain {
		id.certificate.Certificate = append(id.certificate.Certificate, c.Raw)
	}
	id.renew = renewalTime(chain[0])
	return id
}

// shown returns the identity with what belongs behind its leaf, and due for
// renewal if the CA that issues is not the one that issued it.
func (id *identity) shown(i *issuer) *identity {
	out := *id
	for _, g := range i.generations {
		if g.issued(id.certificate.Leaf) {
			out.certificate.Certificate = [][]byte{id.certificate.Leaf.Raw}
			for _, c := range g.chain {
				out.certificate.Certificate = append(out.certificate.Certificate, c.Raw)
			}
			break
		}
	}
	if !i.issued(id.certificate.Leaf) {
		out.renew = time.Now()
	}
	return &out
}

// renewalTime is a random moment between 50 and 80 % of the certificate's
// life: members that were started together do not renew together, and a fifth
// of the life is left for trying again.
func renewalTime(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(issuedAt(leaf))
	return issuedAt(leaf).Add(life/2 + randv2.N(max(life*3/10, 1)))
}

// issuedAt undoes the backdating.
func issuedAt(leaf *x509.Certificate) time.Time { return leaf.NotBefore.Add(backdate) }

// subject is what a certificate of this member says on such terms.
func (a *Authority) subject(t *terms) subject {
	return memberSubject(a.config.ClusterID, a.config.MemberID, t.hosts)
}

// self is what this member's certificate says.
func (a *Authority) self() subject {
	return a.subject(a.terms.Load())
}

func memberSubject(cluster, member uint64, hosts []string) subject {
	return subject{
		name: memberPrefix + hexID(member),
		sans: append(slices.Clone(hosts), memberURI(cluster, member).String()),
	}
}

// CheckHosts fails with ErrName if no certificate of a member could have the name
// and the hosts.
func CheckHosts(name string, hosts ...string) error {
	_, err := memberHosts(name, hosts)
	return err
}

// memberHosts are the hosts of a member's certificate, each once.
func memberHosts(name string, more []string) ([]string, error) {
	return checkHosts(append([]string{name, "localhost", "127.0.0.1", "::1"}, more...))
}

// lifeOf is the life of a member's certificate that is made now.
func (i *issuer) lifeOf(t *terms) time.Duration {
	return min(t.ttl, time.Until(i.intermediate.NotAfter)-time.Second)
}

// renew makes a new key and certificate for this member and serves with them
// from the next handshake on, unless a reload has made others meanwhile. It is
// called by one goroutine at a time.
func (a *Authority) renew(ctx context.Context) error { return a.renewBy(ctx, a.ca()) }

// renewUnrecorded renews without the ledger, which Run tells later.
func (a *Authority) renewUnrecorded(ctx context.Context) error {
	i, err := a.ca().unrecorded()
	if err != nil {
		return err
	}
	if err := a.renewBy(ctx, i); err != nil {
		return err
	}
	a.recordLater()
	return nil
}

func (a *Authority) renewBy(ctx context.Context, i *issuer) error {
	t := a.terms.Load()
	key, chain, err := a.makeIdentity(ctx, i, t)
	if err != nil {
		return err
	}
	a.saving.Lock()
	defer a.saving.Unlock()
	if a.terms.Load() != t {
		return nil // a reload has made one on other terms meanwhile
	}
	if err := a.save(key, chain); err != nil {
		return err
	}
	a.install(newIdentity(key, chain))
	return nil
}

func (a *Authority) makeIdentity(ctx context.Context, i *issuer, t *terms) (crypto.Signer, []*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	s := a.subject(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: s.name}}, key)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, err
	}
	chain, err := i.sign(ctx, csr, Peer, s, i.lifeOf(t))
	if err != nil {
		return nil, nil, fmt.Errorf("sign this member's certificate: %w", err)
	}
	a.metrics.issued.WithLabelValues(string(Peer)).Inc()
	return key, chain, nil
}

// save writes key and chain as one file, so that no crash parts them.
func (a *Authority) save(key crypto.Signer, chain []*x509.Certificate) error {
	if err := writeIdentity(a.identityPath(), key, chain...); err != nil {
		return fmt.Errorf("keep this member's certificate: %w", err)
	}
	return nil
}

func writeIdentity(path string, key crypto.Signer, chain ...*x509.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return writeFile(path, append(text, EncodePEM(chain...)...))
}

func (a *Authority) identityPath() string { return filepath.Join(a.config.Dir, identityFile) }

// load reads what save wrote and checks that this member can serve with it
// now. The error says why not.
func (a *Authority) load() (*identity, error) {
	text, err := os.ReadFile(a.identityPath())
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	chain, err := decodePEM(text)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("its key cannot sign")
	}
	return newIdentity(key, chain), a.checkIdentity(chain[0])
}

// checkIdentity says why this member should not serve with the certificate.
func (a *Authority) checkIdentity(leaf *x509.Certificate) error {
	if err := a.verify(leaf, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth); err != nil {
		return err
	}
	want := a.self()
	got := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		got = append(got, ip.String())
	}
	for _, uri := range leaf.URIs {
		got = append(got, uri.String())
	}
	slices.Sort(got)
	slices.Sort(want.sans)
	if leaf.Subject.CommonName != want.name || !slices.Equal(got, want.sans) {
		return fmt.Errorf("it is for %q, this member is %q", got, want.sans)
	}
	return nil
}
