// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/smallstep/certificates/api"

	"github.com/cleatd/cleat/pki"
)

// sign gives a certificate for a one-time token.
func (d *Door) sign(w http.ResponseWriter, r *http.Request) {
	var asked api.SignRequest
	if !read(w, r, &asked) {
		return
	}
	if asked.CsrPEM.CertificateRequest == nil || asked.OTT == "" {
		refuse(w, http.StatusBadRequest, "a certificate request (csr) and a one-time token (ott) are needed")
		return
	}
	token, err := d.authority.CheckSign(asked.OTT)
	if err != nil {
		d.fail(w, err)
		return
	}
	var ttl time.Duration
	now := time.Now()
	if end := asked.NotAfter.RelativeTime(now); !asked.NotAfter.IsZero() {
		ttl = end.Sub(now)
	}
	if begin := asked.NotBefore.RelativeTime(now); !asked.NotBefore.IsZero() && begin.After(now.Add(time.Minute)) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("a certificate that is valid only from %s is not given: ask then", begin.Format(time.RFC3339)))
		return
	}
	chain, err := d.authority.IssueOneTime(r.Context(), token, asked.CsrPEM.CertificateRequest, ttl)
	if err != nil {
		d.fail(w, err)
		return
	}
	give(w, chain)
}

// renew gives the successor of the certificate that was shown in the handshake.
func (d *Door) renew(w http.ResponseWriter, r *http.Request) { d.succeed(w, r, nil) }

// rekey is renew for another key.
func (d *Door) rekey(w http.ResponseWriter, r *http.Request) {
	var asked api.RekeyRequest
	if !read(w, r, &asked) {
		return
	}
	csr := asked.CsrPEM.CertificateRequest
	if csr == nil {
		refuse(w, http.StatusBadRequest, "a certificate request (csr) is needed, with the new key")
		return
	}
	if err := csr.CheckSignature(); err != nil {
		d.fail(w, fmt.Errorf("%w: %w", pki.ErrRequest, err))
		return
	}
	d.succeed(w, r, csr.PublicKey)
}

func (d *Door) succeed(w http.ResponseWriter, r *http.Request, key crypto.PublicKey) {
	held := shown(r)
	if held == nil {
		refuse(w, http.StatusBadRequest, "no certificate was shown in the handshake: renewing goes with the one that is to be replaced, over mutual TLS")
		return
	}
	if err := d.stillAllowed(held); err != nil {
		d.fail(w, err)
		return
	}
	chain, err := d.embedded.Renew(r.Context(), held, key)
	if err != nil {
		d.fail(w, err)
		return
	}
	give(w, chain)
}

// revoke ends the certificate that was shown, or one of the token's provisioner.
func (d *Door) revoke(w http.ResponseWriter, r *http.Request) {
	var asked api.RevokeRequest
	if !read(w, r, &asked) {
		return
	}
	if err := asked.Validate(); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	leaf, by, err := d.revocable(r, asked)
	if err == nil {
		err = d.authority.RevokeHeld(r.Context(), leaf, asked.ReasonCode, asked.Reason, by)
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	write(w, http.StatusOK, api.RevokeResponse{Status: "ok"})
}

// revocable is the certificate that the caller may have revoked.
func (d *Door) revocable(r *http.Request, asked api.RevokeRequest) (leaf *x509.Certificate, by string, err error) {
	if asked.OTT == "" {
		held := shown(r)
		if held == nil || held.SerialNumber.String() != asked.Serial {
			return nil, "", fmt.Errorf("%w: without a token only the certificate that is shown in the handshake is revoked", errForbidden)
		}
		_, err := d.authority.Held(r.Context(), held)
		return held, "its holder", err
	}
	token, err := d.authority.CheckRevoke(asked.OTT)
	if err != nil {
		return nil, "", err
	}
	if token.Subject != asked.Serial {
		return nil, "", fmt.Errorf("%w: the token is for serial number %q", errForbidden, token.Subject)
	}
	serial, _ := new(big.Int).SetString(asked.Serial, 10) // Validate has written it so
	leaf, profile, err := d.authority.Recorded(r.Context(), serial)
	if err != nil {
		return nil, "", err
	}
	if profile != token.Profile {
		return nil, "", fmt.Errorf("%w: provisioner %s revokes %s certificates only, this one is a %s's", errForbidden, token.Profile, token.Profile, profile)
	}
	return leaf, "a token of provisioner " + string(token.Profile), d.authority.UseOneTime(r.Context(), token)
}

func shown(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// read reads the body. If it is false, the caller has been answered.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(r.Body).Decode(into)
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return true
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has more than %d bytes", large.Limit))
	default:
		refuse(w, http.StatusBadRequest, "the request is not what was expected: "+err.Error())
	}
	return false
}

func give(w http.ResponseWriter, chain []*x509.Certificate) {
	out := api.SignResponse{CertChainPEM: inJSON(chain)}
	out.ServerPEM = out.CertChainPEM[0]
	if len(chain) > 1 {
		out.CaPEM = out.CertChainPEM[1]
	}
	write(w, http.StatusCreated, out)
}

var errForbidden = errors.New("ca: not allowed")

// codes says how what went wrong is told.
var codes = []struct {
	cause error
	code  int
}{
	{errForbidden, http.StatusForbidden},
	{pki.ErrTokenFormat, http.StatusUnauthorized},
	{pki.ErrTokenUnknown, http.StatusUnauthorized},
	{pki.ErrTokenExpired, http.StatusUnauthorized},
	{pki.ErrTokenUsed, http.StatusUnauthorized},
	{pki.ErrClock, http.StatusUnauthorized},
	{pki.ErrAlreadyRevoked, http.StatusBadRequest},
	{pki.ErrRequest, http.StatusBadRequest},
	{pki.ErrKey, http.StatusBadRequest},
	{pki.ErrTTL, http.StatusBadRequest},
	{pki.ErrName, http.StatusForbidden},
	{pki.ErrProfile, http.StatusForbidden},
}

// fail tells what went wrong. What is not the caller's fault is told to the log
// alone; it may have happened, so nothing is promised. What is his is told to the
// audit, too (counted).
func (d *Door) fail(w http.ResponseWriter, err error) {
	note(w, err)
	var refusal *pki.Refusal
	if errors.As(err, &refusal) {
		refuse(w, http.StatusUnauthorized, err.Error())
		return
	}
	for _, c := range codes {
		if errors.Is(err, c.cause) {
			refuse(w, c.code, err.Error())
			return
		}
	}
	refuse(w, http.StatusServiceUnavailable, "the member cannot do this now, and it may or may not have been done; try again, or at another member")
}

// note keeps why somebody is refused, or the cause of a failure, for the log.
func note(w http.ResponseWriter, cause error) {
	if seen, ok := w.(*answer); ok {
		seen.cause = cause
	}
}
