// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// sealedRoles are what keys are sealed as in the CA's bucket.
var sealedRoles = []string{roleRoot, roleIntermediate}

// reseal returns a JSON object with all in it that a key of the ring has sealed
// sealed by to instead, nil if there is nothing. It finds what is sealed by its
// form, not by the names of fields: a key that a newer part of the CA keeps there
// must not be left behind under a key that is about to be forgotten. A record has
// its version raised.
func reseal(raw []byte, record bool, ring keyring, to clusterKey) ([]byte, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // or large ones would lose digits
	if err := decoder.Decode(&fields); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	r := resealing{ring: ring, to: to}
	if _, err := r.value(fields); err != nil || r.count == 0 {
		return nil, err
	}
	if record {
		known, err := decodeCA(raw)
		if err != nil {
			return nil, err
		}
		fields["version"] = known.Version + 1
	}
	return json.Marshal(fields)
}

type resealing struct {
	ring  keyring
	to    clusterKey
	count int
}

// value returns a value with what is sealed in it sealed anew. Objects and lists
// are changed in place.
func (r *resealing) value(v any) (_ any, err error) {
	switch v := v.(type) {
	case map[string]any:
		for k, each := range v {
			if v[k], err = r.value(each); err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
		}
	case []any:
		for i, each := range v {
			if v[i], err = r.value(each); err != nil {
				return nil, err
			}
		}
	case string:
		return r.text(v)
	}
	return v, nil
}

func (r *resealing) text(v string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return v, nil // bytes are base64 in JSON; this are none
	}
	by, err := r.ring.keyOf("key", sealed)
	if err != nil || by.id == r.to.id {
		return v, nil
	}
	for _, role := range sealedRoles {
		secret, err := by.openBytes(role, sealed)
		if err != nil {
			continue
		}
		defer clear(secret)
		r.count++
		return base64.StdEncoding.EncodeToString(r.to.sealBytes(role, secret)), nil
	}
	return "", fmt.Errorf("%w: it is damaged, or sealed as something that this version does not know", ErrSealed)
}
