// SPDX-License-Identifier: Apache-2.0

//go:build !broken_seal

package pki

import "crypto/cipher"

// encrypt appends the sealed secret to header, and decrypt undoes it. The build
// tag broken_seal leaves the sealing out, so that the tests that look for keys
// where none must be can be seen to notice.
func encrypt(aead cipher.AEAD, header, secret, additional []byte) []byte {
	return aead.Seal(header, nil, secret, additional)
}

func decrypt(aead cipher.AEAD, sealed, additional []byte) ([]byte, error) {
	return aead.Open(nil, nil, sealed, additional)
}
