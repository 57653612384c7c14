// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWT makes and reads tokens that carry a user, the auth revision and the end
// of their life, signed with a key that all members have. Its methods may be
// called concurrently.
type JWT struct {
	method       jwt.SigningMethod
	sign, verify any // keys; sign is nil where this member can only verify
	ttl          time.Duration
}

// jwtTTL is the life of a token whose setting names none.
const jwtTTL = 5 * time.Minute

// ParseTokenSetting reads a setting as etcd's --auth-token has it: "simple", for
// which the result is nil, or
//
//	jwt,pub-key=FILE,priv-key=FILE,sign-method=NAME,ttl=5m
//
// and the files it names. It fails with [ErrSetting].
func ParseTokenSetting(setting string) (*JWT, error) {
	kind, rest, _ := strings.Cut(setting, ",")
	options := map[string]string{}
	for _, pair := range strings.Split(rest, ",") {
		if rest == "" {
			break
		}
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := options[name]; !ok || twice {
			return nil, fmt.Errorf("%w %q: options are NAME=VALUE, each once", ErrSetting, setting)
		}
		options[name] = value
	}
	switch kind {
	case "simple":
		return nil, nil
	case "jwt":
		return newJWT(options)
	}
	return nil, fmt.Errorf("%w %q: the kind is simple or jwt", ErrSetting, setting)
}

func newJWT(options map[string]string) (*JWT, error) {
	j := &JWT{ttl: jwtTTL}
	var public, private []byte
	for name, value := range options {
		var err error
		switch name {
		case "ttl":
			if j.ttl, err = time.ParseDuration(value); err == nil && j.ttl <= 0 {
				err = errors.New("it must be positive")
			}
		case "sign-method":
			if j.method = jwt.GetSigningMethod(value); j.method == nil || value == "none" {
				err = errors.New("unknown; use one such as RS256, ES256, EdDSA or HS256")
			}
		case "pub-key":
			public, err = os.ReadFile(value)
		case "priv-key":
			private, err = os.ReadFile(value)
		default:
			err = errors.New("unknown option")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s=%s: %w", ErrSetting, name, value, err)
		}
	}
	if j.method == nil {
		return nil, fmt.Errorf("%w: jwt needs sign-method=NAME", ErrSetting)
	}
	if err := j.keys(public, private); err != nil {
		return nil, fmt.Errorf("%w: the keys for %s: %w", ErrSetting, j.method.Alg(), err)
	}
	if _, err := j.Token("", 0); err != nil && !errors.Is(err, ErrVerifyOnly) {
		return nil, fmt.Errorf("%w: the key does not do for %s: %w", ErrSetting, j.method.Alg(), err)
	}
	return j, nil
}

// keys reads the keys for the method. A private key does for both; with a
// public key alone this member verifies tokens and makes none.
func (j *JWT) keys(public, private []byte) error {
	if _, symmetric := j.method.(*jwt.SigningMethodHMAC); symmetric {
		if len(private) == 0 {
			return errors.New("priv-key is missing")
		}
		j.sign, j.verify = private, private
		return nil
	}
	if len(public) == 0 && len(private) == 0 {
		return errors.New("neither pub-key nor priv-key is there")
	}
	if len(private) > 0 {
		key, err := j.privateKey(private)
		if err != nil {
			return fmt.Errorf("priv-key: %w", err)
		}
		j.sign, j.verify = key, key.Public()
	}
	if len(public) == 0 {
		return nil
	}
	key, err := j.publicKey(public)
	if err != nil {
		return fmt.Errorf("pub-key: %w", err)
	}
	if same, ok := key.(interface{ Equal(crypto.PublicKey) bool }); j.verify != nil && (!ok || !same.Equal(j.verify)) {
		return errors.New("pub-key does not belong to priv-key")
	}
	j.verify = key
	return nil
}

func (j *JWT) privateKey(pem []byte) (crypto.Signer, error) {
	switch j.method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPrivateKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPrivateKeyFromPEM(pem)
	}
	key, err := jwt.ParseEdPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, err
	}
	return key.(ed25519.PrivateKey), nil // the parser refuses others
}

func (j *JWT) publicKey(pem []byte) (crypto.PublicKey, error) {
	switch j.method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPublicKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPublicKeyFromPEM(pem)
	}
	return jwt.ParseEdPublicKeyFromPEM(pem)
}

// claims are etcd's.
type claims struct {
	Username string  `json:"username"`
	Revision *uint64 `json:"revision"`
	jwt.RegisteredClaims
}

// Token returns a token for a user whose password was right at an auth
// revision. It fails with ErrVerifyOnly.
func (j *JWT) Token(user string, revision uint64) (string, error) {
	if j.sign == nil {
		return "", ErrVerifyOnly
	}
	ends := jwt.NewNumericDate(time.Now().Add(j.ttl))
	token := jwt.NewWithClaims(j.method, claims{user, &revision, jwt.RegisteredClaims{ExpiresAt: ends}})
	text, err := token.SignedString(j.sign)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}

// Caller returns for whom a token was made. Every fault is ErrToken.
func (j *JWT) Caller(text string) (Caller, error) {
	var c claims
	_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return j.verify, nil },
		jwt.WithValidMethods([]string{j.method.Alg()}))
	if err != nil || c.Revision == nil || c.Username == "" {
		return Caller{}, ErrToken
	}
	return Caller{Name: c.Username, Revision: *c.Revision}, nil
}
