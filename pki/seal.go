// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
)

// A sealed key, as it lies in the ledger:
//
//	1 byte    version, 1
//	8 bytes   id of the cluster key that opens it
//	12 bytes  nonce, random
//	the rest  AES-256-GCM of the PKCS #8 form, with its tag
//
// The additional data are the first nine bytes and the key's role, so that a
// sealed key cannot be put in the place of another.
const (
	sealVersion    = 1
	clusterIDSize  = 8
	sealHeaderSize = 1 + clusterIDSize
	clusterKeySize = 32
	clusterKeyType = "CLEAT CLUSTER KEY" // of the PEM block in Dir/cluster.key
)

// clusterKey seals the CA's private keys. Every member that may issue holds it;
// it is never replicated and never in a backup.
type clusterKey struct {
	id     [clusterIDSize]byte
	secret []byte // what the id and the cipher are derived from
	aead   cipher.AEAD
}

// newClusterKey derives what is used from the secret: the id tells a wrong key
// from a damaged blob without helping to guess either.
func newClusterKey(secret []byte) (clusterKey, error) {
	var k clusterKey
	if len(secret) != clusterKeySize {
		return k, fmt.Errorf("%w: it has %d bytes, not %d", ErrClusterKey, len(secret), clusterKeySize)
	}
	id, err := hkdf.Key(sha256.New, secret, nil, "cleat cluster key id", clusterIDSize)
	if err != nil {
		return k, err
	}
	sealing, err := hkdf.Key(sha256.New, secret, nil, "cleat seals CA keys", 32)
	if err != nil {
		return k, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return k, err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	copy(k.id[:], id)
	k.secret = slices.Clone(secret)
	return k, err
}

// randomClusterKey makes a key.
func randomClusterKey() (clusterKey, error) {
	secret := make([]byte, clusterKeySize)
	defer clear(secret)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	return newClusterKey(secret)
}

// seal returns the private key in sealed form.
func (k clusterKey) seal(role string, private crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("seal the %s key: %w", role, err)
	}
	defer clear(der)
	return k.sealBytes(role, der), nil
}

// sealBytes returns what is secret in sealed form.
func (k clusterKey) sealBytes(role string, secret []byte) []byte {
	header := append([]byte{sealVersion}, k.id[:]...)
	return encrypt(k.aead, header, secret, additional(header, role))
}

// open returns the private key that was sealed for the role. It fails with
// ErrClusterKey if another cluster key sealed it, and with ErrSealed if it is
// damaged or stands in for another role.
func (k clusterKey) open(role string, sealed []byte) (crypto.Signer, error) {
	der, err := k.openBytes(role, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s key: %w", ErrSealed, role, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: the %s key cannot sign", ErrSealed, role)
	}
	return signer, nil
}

// openBytes undoes sealBytes; its errors are those of open.
func (k clusterKey) openBytes(role string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeaderSize || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: the %s key has an unknown form (%d bytes)", ErrSealed, role, len(sealed))
	}
	header := sealed[:sealHeaderSize]
	if !bytes.Equal(header[1:], k.id[:]) {
		return nil, fmt.Errorf("%w: the %s key was sealed with another one", ErrClusterKey, role)
	}
	secret, err := decrypt(k.aead, sealed[sealHeaderSize:], additional(header, role))
	if err != nil {
		return nil, fmt.Errorf("%w: the %s key", ErrSealed, role)
	}
	return secret, nil
}

func additional(header []byte, role string) []byte {
	return slices.Concat(header, []byte(role))
}
