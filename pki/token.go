// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	tokenVersion = "cleat1"
	secretSize   = 32
)

// base64url is strict, so that a token has one spelling only.
var base64url = base64.RawURLEncoding.Strict()

// Token is what a machine joins with, or a client logs in. It says whom to trust,
// by the digest of the cluster's root, and proves that its holder was invited, by
// a secret of which the cluster keeps only a hash. As text it is
//
//	cleat1.<digest>.<secret>
//
// with both parts in base64url without padding.
type Token struct {
	Digest [sha256.Size]byte
	secret [secretSize]byte
}

// ParseToken reads what [Token.Text] made; space around it does not matter. The
// error is ErrTokenFormat, says what is wrong, and shows nothing of the secret.
func ParseToken(text string) (Token, error) {
	var t Token
	parts := strings.Split(strings.TrimSpace(text), ".")
	if !strings.HasPrefix(parts[0], "cleat") {
		return t, fmt.Errorf("%w: it does not begin with %q", ErrTokenFormat, tokenVersion+".")
	}
	if parts[0] != tokenVersion {
		return t, fmt.Errorf("%w: it is of another version; this one reads %s", ErrTokenFormat, tokenVersion)
	}
	if len(parts) != 3 {
		return t, fmt.Errorf("%w: it has %d parts with dots between them, not 3; it may be cut off", ErrTokenFormat, len(parts))
	}
	if err := decodePart(t.Digest[:], "digest", parts[1]); err != nil {
		return t, err
	}
	return t, decodePart(t.secret[:], "secret", parts[2])
}

func decodePart(into []byte, name, text string) error {
	if want := base64url.EncodedLen(len(into)); len(text) != want {
		return fmt.Errorf("%w: its %s has %d characters, not %d; it may be cut off", ErrTokenFormat, name, len(text), want)
	}
	raw, err := base64url.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: its %s is not base64url", ErrTokenFormat, name)
	}
	copy(into, raw)
	return nil
}

// Text returns the token whole, for the one who is invited. It is not called
// String so that no log prints a secret by accident.
func (t Token) Text() string {
	return strings.Join([]string{tokenVersion, base64url.EncodeToString(t.Digest[:]), base64url.EncodeToString(t.secret[:])}, ".")
}

// String names the token without its secret.
func (t Token) String() string { return "token " + t.ID()[:16] }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// ID is the hash of the secret, in hex: what the cluster knows the token by.
func (t Token) ID() string {
	sum := sha256.Sum256(t.secret[:])
	return hex.EncodeToString(sum[:])
}

func newToken(root *x509.Certificate) Token {
	t := Token{Digest: digestOf(root)}
	_, _ = rand.Read(t.secret[:]) // never fails: crypto/rand ends the program instead
	return t
}

// digestOf is what a token knows a root by.
func digestOf(root *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(root.Raw) }
