// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
)

// ACMEProvisioner is the name of the provisioner of ACME, in certificates and in
// the paths of its requests.
const ACMEProvisioner = "acme"

// Embedded is smallstep's authority as its own handlers know it, for the ca door:
// it signs what ACME has validated, and renews. Its issuer is always the one that
// issues now.
type Embedded struct {
	*authority.Authority
	pki *Authority
}

// Embed makes an Embedded. ACME's certificates pass allowed before they are
// signed; its error is told to the client.
func (a *Authority) Embed(allowed func(*x509.Certificate) error) (*Embedded, error) {
	e := &Embedded{pki: a}
	var err error
	e.Authority, err = authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Provisioners: provisioner.List{a.acmeProvisioner(), renewing{profileProvisioner{Client}}, renewing{profileProvisioner{Server}}},
			Backdate:     &provisioner.Duration{Duration: backdate},
		}}),
		authority.WithX509RootCerts(a.ca().roots...),
		authority.WithX509SignerFunc(func() ([]*x509.Certificate, crypto.Signer, error) {
			i := a.ca()
			return i.chain, i.signer, i.locked
		}),
		authority.WithX509IntermediateCerts(intermediatesOf(a.ca().generations)...),
		authority.WithX509Enforcers(enforcer(func(cert *x509.Certificate) error {
			if err := checkKey(cert.PublicKey); err != nil {
				return err
			}
			if end := a.ca().intermediate.NotAfter; cert.NotAfter.After(end) {
				return fmt.Errorf("%w: the CA itself ends at %s", ErrTTL, stamp(end))
			}
			return allowed(cert)
		})),
		authority.WithDatabase(newDatabase(a.config.Ledger)),
		authority.WithQuietInit(),
	)
	if err != nil {
		return nil, fmt.Errorf("open smallstep's authority for the ca door: %w", err)
	}
	return e, nil
}

// acmeProvisioner gives server certificates for what http-01 has validated. The
// other challenges are left out: dns-01 would ask any resolver about any name, and
// tls-alpn-01 needs nothing that http-01 does not.
func (a *Authority) acmeProvisioner() *provisioner.ACME {
	life := func(d time.Duration) *provisioner.Duration { return &provisioner.Duration{Duration: d} }
	return &provisioner.ACME{
		Type: "ACME", Name: ACMEProvisioner, Challenges: []provisioner.ACMEChallenge{provisioner.HTTP_01},
		Claims:  &provisioner.Claims{MinTLSDur: life(minTTL), MaxTLSDur: life(a.config.ClientTTL), DefaultTLSDur: life(a.config.ClientTTL)},
		Options: &provisioner.Options{X509: &provisioner.X509Options{Template: templates[Server]}},
	}
}

type enforcer func(*x509.Certificate) error

func (e enforcer) Enforce(cert *x509.Certificate) error { return e(cert) }

// renewing is a profile whose certificates the ca door renews. Who may is decided
// by Renew before smallstep is asked.
type renewing struct{ profileProvisioner }

func (renewing) AuthorizeRenew(context.Context, *x509.Certificate) error { return nil }

// Renew signs the successor of a certificate that its holder has shown in a
// handshake: of the same names, profile and life, for the same key or, if it is
// not nil, for another. A member's is not renewed here: it makes its own. The error
// is that of Held, ErrKey, ErrProfile, ErrTTL if the CA ends before, or the
// ledger's.
func (e *Embedded) Renew(ctx context.Context, held *x509.Certificate, key crypto.PublicKey) ([]*x509.Certificate, error) {
	profile, err := e.pki.Held(ctx, held)
	if err != nil {
		return nil, err
	}
	if profile == Peer {
		return nil, fmt.Errorf("%w: a member renews its certificate itself", ErrProfile)
	}
	if key != nil {
		if err := checkKey(key); err != nil {
			return nil, err
		}
	}
	if end := e.pki.ca().intermediate.NotAfter; time.Now().Add(held.NotAfter.Sub(held.NotBefore) - backdate).After(end) {
		return nil, fmt.Errorf("%w: the CA itself ends at %s, before a successor would", ErrTTL, stamp(end))
	}
	chain, err := e.RenewContext(ctx, held, key)
	if err != nil {
		return nil, fmt.Errorf("renew certificate %s: %w", held.SerialNumber, err)
	}
	e.pki.tellIssued(ctx, ActRenew, chain[0], "", "replaces "+held.SerialNumber.String())
	return chain, nil
}

// Issued tells of a certificate that ACME was given.
func (e *Embedded) Issued(leaf *x509.Certificate) {
	e.pki.tellIssued(context.Background(), ActIssue, leaf, ACMEProvisioner, "")
}

func (a *Authority) tellIssued(ctx context.Context, act Act, leaf *x509.Certificate, by, detail string) {
	what := "certificate issued"
	if act == ActRenew {
		what = "certificate renewed"
	}
	e := eventOf(act, what, leaf)
	e.By, e.Detail = by, detail
	a.metrics.issued.WithLabelValues(string(e.Profile)).Inc()
	a.Audit(ctx, e)
}

// CADoor returns what the ca door serves with: this member's certificate, for
// whoever comes. A certificate need not be shown; one that is must be of this CA
// and valid now, of whatever profile, since all of them are renewed there.
func (a *Authority) CADoor() *tls.Config {
	door := a.door(func(c tls.ConnectionState) error {
		if len(c.PeerCertificates) == 0 {
			return nil
		}
		return a.verify(c.PeerCertificates[0])
	})
	door.ClientAuth = tls.RequestClientCert
	return door
}

// profileHeld is the profile of a certificate of ours, by what it can do.
func profileHeld(leaf *x509.Certificate) Profile {
	serves := slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	switch {
	case len(leaf.URIs) != 0:
		return Peer
	case serves:
		return Server
	}
	return Client
}

// GivenByACME says whether ACME was given the certificate, or one that it follows.
func GivenByACME(leaf *x509.Certificate) bool {
	mark, marked := provisioner.GetProvisionerExtension(leaf)
	return marked && mark.Name == ACMEProvisioner
}
