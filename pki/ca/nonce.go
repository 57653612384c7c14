// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/smallstep/certificates/acme"

	"github.com/cleatd/cleat/pki"
)

// A nonce says itself that it is ours, at every member, so that giving one away
// writes nothing:
//
//	8 bytes    when it was made, in Unix seconds
//	16 bytes   random
//	16 bytes   HMAC-SHA256 of those, with a key derived from the issuer's, cut off
//
// as base64url. That one was used is recorded until it would be too old.
const (
	nonceBody = 8 + 16
	nonceSize = nonceBody + 16
	nonceLife = time.Hour
	nonceSkew = 5 * time.Minute // between the clocks of members

	noncesBucket = "pki/acme_nonces"
)

var nonceForm = base64.RawURLEncoding.Strict()

func nonceMAC(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)[:nonceSize-nonceBody]
}

// CreateNonce writes nothing.
func (t *tables) CreateNonce(context.Context) (acme.Nonce, error) {
	key, err := t.authority.NonceKey()
	if err != nil {
		return "", err
	}
	raw := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))
	raw = append(raw, make([]byte, nonceBody-len(raw))...)
	_, _ = rand.Read(raw[8:]) // never fails: crypto/rand ends the program instead
	return acme.Nonce(nonceForm.EncodeToString(append(raw, nonceMAC(key, raw)...))), nil
}

// DeleteNonce uses the nonce up.
func (t *tables) DeleteNonce(ctx context.Context, nonce acme.Nonce) error {
	raw, err := nonceForm.DecodeString(string(nonce))
	if err != nil || len(raw) != nonceSize {
		return badNonce("it is none of this cluster's")
	}
	key, err := t.authority.NonceKey()
	if err != nil {
		return err
	}
	if !hmac.Equal(raw[nonceBody:], nonceMAC(key, raw[:nonceBody])) {
		return badNonce("it is none of this cluster's, or its CA was replaced since")
	}
	made, now := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0), time.Now()
	if now.After(made.Add(nonceLife)) || made.After(now.Add(nonceSkew)) {
		return badNonce(fmt.Sprintf("it was made at %s, now it is %s", made.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	done, err := t.ledger.Commit(ctx, []pki.Op{{
		Bucket: noncesBucket, Key: raw[8:nonceBody], Value: []byte{1}, If: pki.Absent, Expires: made.Add(nonceLife + nonceSkew),
	}})
	if err != nil {
		return err
	}
	if !done {
		return badNonce("it was used already")
	}
	return nil
}

func badNonce(why string) error {
	return acme.NewDetailedError(acme.ErrorBadNonceType, "%s", why)
}
