// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.step.sm/crypto/jose"
)

// A one-time token is a JWT of the form that step-ca's clients know, signed with
// a key that is derived from the issuer's: every member that can issue can make
// one and check one, nothing more is kept, and with the issuer the tokens end.
// Each profile has a key of its own, by whose id the token says its profile.
// That it was used is recorded when it is, for as long as it would be good:
//
//	pki/used_ott:  sha256(jti), in hex  ->  the moment, as RFC 3339 has it

const (
	usedTokens = bucketPrefix + "used_ott"

	// DefaultOneTimeTTL is how long a one-time token can be used when nobody says
	// otherwise.
	DefaultOneTimeTTL = 15 * time.Minute

	// Where step-ca's clients take a token, which is its audience.
	signPath   = "/1.0/sign"
	revokePath = "/1.0/revoke"
)

// OneTime is what a one-time token is good for: one certificate of exactly this
// name and profile.
type OneTime struct {
	Profile Profile       // Client or Server
	Name    string        // the user; of a server the first of its names
	Hosts   []string      // of a server, further names and addresses
	TTL     time.Duration // how long it can be used; 0: DefaultOneTimeTTL
	Doors   []string      // the ca doors where it can be used, as HOST:PORT; step goes to the first
}

// OneTimeToken is a token whose signature and times have been checked, and whether
// it was used has not.
type OneTimeToken struct {
	Profile Profile
	Subject string   // the name, or the serial number of what is to be revoked
	Hosts   []string // of a server: all its names
	Request []byte   // nil, or the SHA-256 of the one request that it is for

	id      string
	expires time.Time
}

// oneTimeClaims are those of step-ca's tokens.
type oneTimeClaims struct {
	jose.Claims
	Hosts        []string `json:"sans,omitempty"`
	Root         string   `json:"sha,omitempty"`
	Confirmation *struct {
		Request string `json:"x5rt#S256"`
	} `json:"cnf,omitempty"`
}

// MintOneTime makes a one-time token. It needs no ledger. The error is ErrProfile,
// ErrName, or ErrInvitation for a bad life or no door.
func (a *Authority) MintOneTime(o OneTime) (string, error) {
	claims, err := a.oneTimeClaims(o, time.Now())
	if err != nil {
		return "", err
	}
	key, err := a.ca().tokenKey(o.Profile)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign a one-time token: %w", err)
	}
	token, err := jose.Signed(signer).Claims(claims).CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign a one-time token: %w", err)
	}
	a.Audit(context.Background(), Event{
		Act: ActInvite, What: "one-time token made", Profile: o.Profile, Name: claims.Subject, NotAfter: claims.Expiry.Time(),
	})
	return token, nil
}

func (a *Authority) oneTimeClaims(o OneTime, now time.Time) (oneTimeClaims, error) {
	if o.TTL == 0 {
		o.TTL = DefaultOneTimeTTL
	}
	if o.TTL < time.Second || o.TTL > maxTokenTTL {
		return oneTimeClaims{}, fmt.Errorf("%w: a life of %v is not between %v and %v", ErrInvitation, o.TTL, time.Second, maxTokenTTL)
	}
	if len(o.Doors) == 0 {
		return oneTimeClaims{}, fmt.Errorf("%w: no ca door was named at which the token can be used", ErrInvitation)
	}
	hosts := []string{o.Name}
	switch o.Profile {
	case Client:
		if err := checkUser(o.Name); err != nil {
			return oneTimeClaims{}, err
		}
	case Server:
		var err error
		if hosts, err = checkHosts(append(hosts, o.Hosts...)); err != nil {
			return oneTimeClaims{}, err
		}
	default:
		return oneTimeClaims{}, fmt.Errorf("%w: one-time tokens are for clients and servers, not for %q", ErrProfile, o.Profile)
	}
	var audience jose.Audience
	for _, door := range o.Doors {
		audience = append(audience, "https://"+door+signPath)
	}
	root := digestOf(a.ca().root)
	return oneTimeClaims{
		Claims: jose.Claims{
			Issuer: string(o.Profile), Subject: hosts[0], Audience: audience, ID: rand.Text(),
			IssuedAt: jose.NewNumericDate(now), NotBefore: jose.NewNumericDate(now), Expiry: jose.NewNumericDate(now.Add(o.TTL)),
		},
		Hosts: hosts, Root: hex.EncodeToString(root[:]),
	}, nil
}

// CheckSign checks a token that asks for a certificate: whose key signed it, for
// what, and when. Nothing is written. The error is ErrTokenFormat,
// ErrTokenUnknown for a key that is none of ours, or ErrTokenExpired.
func (a *Authority) CheckSign(token string) (OneTimeToken, error) {
	return a.checkOneTime(token, signPath)
}

// CheckRevoke is CheckSign for a token that asks to revoke a certificate, as
// step ca token --revoke makes it: its subject is the serial number.
func (a *Authority) CheckRevoke(token string) (OneTimeToken, error) {
	return a.checkOneTime(token, revokePath)
}

func (a *Authority) checkOneTime(token, path string) (OneTimeToken, error) {
	parsed, err := jose.ParseSigned(token)
	if err != nil {
		return OneTimeToken{}, fmt.Errorf("%w: it is no JWT: %v", ErrTokenFormat, err)
	}
	profile, claims, err := a.verifyOneTime(parsed)
	if err != nil {
		return OneTimeToken{}, err
	}
	out := OneTimeToken{Profile: profile, Subject: claims.Subject, Hosts: claims.Hosts, id: claims.ID}
	if claims.Expiry == nil || claims.ID == "" || claims.Subject == "" {
		return out, fmt.Errorf("%w: it lacks exp, jti or sub", ErrTokenFormat)
	}
	if !slices.ContainsFunc(claims.Audience, func(to string) bool { return strings.HasSuffix(to, path) }) {
		return out, fmt.Errorf("%w: it is for %q, not for %s", ErrTokenFormat, claims.Audience, path)
	}
	if claims.Confirmation != nil {
		if out.Request, err = base64url.DecodeString(claims.Confirmation.Request); err != nil || len(out.Request) != sha256.Size {
			return out, fmt.Errorf("%w: its cnf names no request's SHA-256", ErrTokenFormat)
		}
	}
	now := time.Now()
	out.expires = claims.Expiry.Time()
	switch {
	case now.After(out.expires):
		return out, fmt.Errorf("%w at %s, it is %s", ErrTokenExpired, stamp(out.expires), stamp(now))
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(maxClockDifference)):
		return out, fmt.Errorf("%w: the token is good from %s, here it is %s", ErrClock, stamp(claims.NotBefore.Time()), stamp(now))
	case out.expires.After(now.Add(maxTokenTTL + maxClockDifference)):
		return out, fmt.Errorf("%w: it is good until %s, longer than %v", ErrTokenFormat, stamp(out.expires), maxTokenTTL)
	}
	return out, nil
}

// verifyOneTime finds the key by the name and the id that the token says, and
// checks the signature with it.
func (a *Authority) verifyOneTime(token *jose.JSONWebToken) (Profile, oneTimeClaims, error) {
	var claims oneTimeClaims
	if len(token.Headers) != 1 || token.Headers[0].Algorithm != string(jose.ES256) {
		return "", claims, fmt.Errorf("%w: it is not signed once with ES256", ErrTokenFormat)
	}
	for _, p := range []Profile{Client, Server} {
		key, err := a.ca().tokenKey(p)
		if err != nil {
			return "", claims, err
		}
		if key.KeyID != token.Headers[0].KeyID {
			continue
		}
		if err := token.Claims(key.Public().Key, &claims); err != nil || claims.Issuer != string(p) {
			return "", claims, fmt.Errorf("%w: it is not signed by provisioner %s of this cluster", ErrTokenUnknown, p)
		}
		return p, claims, nil
	}
	return "", claims, fmt.Errorf("%w: no key of this cluster signed it, or its CA was replaced since", ErrTokenUnknown)
}

// UseOneTime uses the token up, for the whole cluster. The error is ErrTokenUsed
// if it was used before; after any other, the ledger's, it may have been used up.
func (a *Authority) UseOneTime(ctx context.Context, t OneTimeToken) error {
	sum := sha256.Sum256([]byte(t.id))
	done, err := a.config.Ledger.Commit(ctx, []Op{{
		Bucket: usedTokens, Key: []byte(hex.EncodeToString(sum[:])), Value: []byte(stamp(time.Now())),
		If: Absent, Expires: t.expires.Add(maxClockDifference),
	}})
	if err != nil {
		return fmt.Errorf("record the use of the token: %w", err)
	}
	if !done {
		return fmt.Errorf("%w: it is good once", ErrTokenUsed)
	}
	return nil
}

// TokenKey is the private key of a profile's one-time tokens, for whoever makes
// them elsewhere with step ca token --key. It is worth as much as every
// certificate of that profile, until the issuer is replaced.
func (a *Authority) TokenKey(p Profile) (*jose.JSONWebKey, error) { return a.ca().tokenKey(p) }

func (i *issuer) tokenKey(p Profile) (*jose.JSONWebKey, error) {
	if p != Client && p != Server {
		return nil, fmt.Errorf("%w: there are no one-time tokens for %q", ErrProfile, p)
	}
	for attempt := range 256 { // 32 bytes are a key of P-256 but for one in 2^32
		raw, err := i.derive(fmt.Sprintf("one-time tokens of %s, %d", p, attempt), 32)
		if err != nil {
			return nil, err
		}
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
		if err != nil {
			continue
		}
		jwk := &jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
		jwk.KeyID, err = jose.Thumbprint(jwk)
		return jwk, err
	}
	return nil, errors.New("pki: no key for one-time tokens can be derived")
}

// derive returns a secret that all members that can issue agree on, until the
// issuer is replaced.
func (i *issuer) derive(what string, size int) ([]byte, error) {
	if i.locked != nil {
		return nil, i.locked
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.signer)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing can be derived from the issuer's key: %w", ErrClusterKey, err)
	}
	defer clear(der)
	return hkdf.Key(sha256.New, der, nil, "cleat "+what, size)
}

// covers says whether the token is for what the request asks for.
func (t OneTimeToken) covers(csr *x509.CertificateRequest, s subject) error {
	if sum := sha256.Sum256(csr.Raw); t.Request != nil && !slices.Equal(t.Request, sum[:]) {
		return fmt.Errorf("%w: the token is for another request", ErrRequest)
	}
	if t.Profile == Client {
		if s.name != t.Subject {
			return fmt.Errorf("%w: the token is for user %q, the request asks for %s", ErrName, t.Subject, quoteName(s.name))
		}
		return nil
	}
	want, err := checkHosts(t.Hosts)
	if err != nil {
		return err
	}
	asked := slices.Sorted(slices.Values(s.sans))
	if slices.Sort(want); !slices.Equal(want, asked) {
		return fmt.Errorf("%w: the token is for %q, the request asks for %q", ErrName, want, asked)
	}
	return nil
}
