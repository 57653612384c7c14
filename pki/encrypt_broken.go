// SPDX-License-Identifier: Apache-2.0

//go:build broken_seal

package pki

import (
	"bytes"
	"crypto/cipher"
)

func encrypt(_ cipher.AEAD, header, secret, _ []byte) []byte { return append(header, secret...) }

func decrypt(_ cipher.AEAD, sealed, _ []byte) ([]byte, error) { return bytes.Clone(sealed), nil }
