// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"
)

// LoginRequest is what a client sends to be given a certificate for a token.
type LoginRequest struct {
	Token Token
	CSR   []byte // DER; its key counts, and its common name if it has one
	Time  time.Time
}

// checkClient checks what only a client's invitation says.
func checkClient(i Invitation) error {
	if i.Client == "" {
		return fmt.Errorf("%w: a certificate's life without a client", ErrInvitation)
	}
	if err := checkUser(i.Client); err != nil {
		return fmt.Errorf("%w: %w", ErrInvitation, err)
	}
	if i.Role != "" || i.Member != 0 {
		return fmt.Errorf("%w: client %q cannot be a member too", ErrInvitation, i.Client)
	}
	if _, err := checkTTL(i.CertTTL, DefaultClientTTL); err != nil {
		return fmt.Errorf("%w: %w", ErrInvitation, err)
	}
	return nil
}

// purpose says to a person what the token is for.
func (r tokenRecord) purpose() string {
	if r.Client != "" {
		return fmt.Sprintf("client %q", r.Client)
	}
	return "a machine that joins as " + string(r.Role)
}

// Login redeems a client's token for a certificate of exactly the name that the
// token was made for. Who asks again with the same key, since the answer did not
// come, is counted once. The error is one of Redeem's, or ErrRequest, ErrKey, or
// ErrName if the request asks for another name; then no use is counted.
func (a *Authority) Login(ctx context.Context, r LoginRequest) ([]*x509.Certificate, error) {
	csr, err := readClient(r.CSR)
	if err != nil {
		return nil, err
	}
	redemption := Redemption{Token: r.Token, Key: csr.RawSubjectPublicKeyInfo, Time: r.Time, login: true}
	info, err := a.Check(ctx, redemption)
	if err != nil {
		return nil, err
	}
	if err := asksFor(csr, info.Client); err != nil {
		return nil, err
	}
	if info, _, err = a.Redeem(ctx, redemption); err != nil {
		return nil, err
	}
	life := info.CertTTL
	if life == 0 {
		life = a.config.ClientTTL
	}
	return a.issueClient(ctx, csr, info.Client, life, Event{Act: ActIssue, What: "client logged in", Token: info.ID[:16]})
}

// RenewClient issues the successor of a client's certificate, which its holder
// has shown in a handshake: of the same name and life, for the key of the
// request, which may be a new one. Nothing else is taken over. The error is a
// [*Refusal] if the certificate is not a client's or does not count (Held),
// ErrRequest, ErrKey, or ErrName if the request asks for another name.
func (a *Authority) RenewClient(ctx context.Context, shown *x509.Certificate, request []byte) ([]*x509.Certificate, error) {
	csr, err := readClient(request)
	if err != nil {
		return nil, err
	}
	profile, err := a.Held(ctx, shown)
	if err != nil {
		return nil, err
	}
	if profile != Client {
		return nil, refuse(shown, ReasonWrongUsage, "is not a client's: it is of profile "+string(profile))
	}
	name := shown.Subject.CommonName
	if err := asksFor(csr, name); err != nil {
		return nil, err
	}
	return a.issueClient(ctx, csr, name, lifeAsked(shown), Event{Act: ActRenew, What: "client certificate renewed", Detail: "replaces " + shown.SerialNumber.String()})
}

// lifeAsked undoes the rounding of a life: its beginning was cut off to the
// second and its end rounded up. Without that it would grow with each renewal.
func lifeAsked(leaf *x509.Certificate) time.Duration {
	return min(max(leaf.NotAfter.Sub(issuedAt(leaf))-time.Second, minTTL), maxTTL)
}

// readClient reads a signing request, and checks its key and that it is held.
func readClient(der []byte) (*x509.CertificateRequest, error) {
	if len(der) > maxJoinRequestBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrRequest, len(der), maxJoinRequestBytes)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return csr, checkHolder(csr)
}

// asksFor checks that the request asks for the name or for none.
func asksFor(csr *x509.CertificateRequest, name string) error {
	if asked := csr.Subject.CommonName; asked != "" && asked != name {
		return fmt.Errorf("%w: asked for %s, it can only be %q", ErrName, quoteName(asked), name)
	}
	return nil
}

// issueClient signs a client's certificate and tells of it, by what the event says.
func (a *Authority) issueClient(ctx context.Context, csr *x509.CertificateRequest, name string, life time.Duration, told Event) ([]*x509.Certificate, error) {
	chain, err := a.ca().sign(ctx, csr, Client, subject{name: name}, life)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	a.metrics.issued.WithLabelValues(string(Client)).Inc()
	e := eventOf(told.Act, told.What, chain[0])
	e.Token, e.Detail = told.Token, told.Detail
	a.Audit(ctx, e)
	return chain, nil
}
