// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyring is the cluster keys that a member holds: the one in use, and while it
// is replaced the next one or the one before. It never changes; nil is none.
//
// As text it is one PEM block a key. A member whose first key is a credential of
// systemd's keeps further ones sealed with that one, so that no key of it lies on
// the disk in plain:
//
//	CLEAT CLUSTER KEY          the key
//	CLEAT SEALED CLUSTER KEY   the key as clusterKey.sealBytes seals it, by a key of the ring
type keyring []clusterKey

const (
	sealedKeyType  = "CLEAT SEALED CLUSTER KEY"
	roleClusterKey = "cluster key" // part of what is sealed, so never renamed

	// maxKeys bounds a ring: two are held, and a person may have put together more.
	maxKeys = 16
)

// ID names the key without helping to guess it.
func (k clusterKey) ID() string { return hex.EncodeToString(k.id[:]) }

// String is the id, so that no log prints the key.
func (k clusterKey) String() string { return "cluster key " + k.ID() }

// GoString is String.
func (k clusterKey) GoString() string { return k.String() }

func (r keyring) find(id [clusterIDSize]byte) (clusterKey, bool) {
	for _, k := range r {
		if k.id == id {
			return k, true
		}
	}
	return clusterKey{}, false
}

// byID finds a key by its id in hex.
func (r keyring) byID(id string) (clusterKey, bool) {
	for _, k := range r {
		if k.ID() == id {
			return k, true
		}
	}
	return clusterKey{}, false
}

func (r keyring) ids() []string {
	ids := make([]string, len(r))
	for i, k := range r {
		ids[i] = k.ID()
	}
	return ids
}

// with returns the ring with the keys too that it does not have.
func (r keyring) with(more ...clusterKey) keyring {
	out := append(keyring{}, r...)
	for _, k := range more {
		if _, has := out.find(k.id); !has {
			out = append(out, k)
		}
	}
	return out
}

// only returns the ring without the keys that are not named.
func (r keyring) only(ids ...string) keyring {
	var out keyring
	for _, id := range ids {
		if k, has := r.byID(id); has {
			out = out.with(k)
		}
	}
	return out
}

// keyOf returns the key that sealed a blob. The error is ErrSealed if nothing
// was sealed, or ErrClusterKey if another key sealed it.
func (r keyring) keyOf(what string, sealed []byte) (clusterKey, error) {
	if len(sealed) < sealHeaderSize || sealed[0] != sealVersion {
		return clusterKey{}, fmt.Errorf("%w: the %s has an unknown form (%d bytes)", ErrSealed, what, len(sealed))
	}
	k, has := r.find([clusterIDSize]byte(sealed[1:sealHeaderSize]))
	switch {
	case has:
		return k, nil
	case len(r) == 0:
		return k, fmt.Errorf("%w: this member holds none", ErrClusterKey)
	}
	return k, fmt.Errorf("%w: the %s was sealed with cluster key %x, this member holds %s",
		ErrClusterKey, what, sealed[1:sealHeaderSize], strings.Join(r.ids(), ", "))
}

// encode returns the ring as text. Keys that are in the credential too are left
// out, and the others sealed with its first.
func (r keyring) encode(credential keyring) []byte {
	var text bytes.Buffer
	for _, k := range r {
		block := &pem.Block{Type: clusterKeyType, Bytes: k.secret}
		if len(credential) > 0 {
			if _, has := credential.find(k.id); has {
				continue
			}
			block = &pem.Block{Type: sealedKeyType, Bytes: credential[0].sealBytes(roleClusterKey, k.secret)}
		}
		_ = pem.Encode(&text, block) // a Buffer takes everything
	}
	return text.Bytes()
}

// decodeKeyring reads such a text. What is sealed in it may be by a key before
// it, or one of credential. The error is ErrClusterKey or ErrSealed.
func decodeKeyring(text []byte, credential keyring) (keyring, error) {
	var r keyring
	for n := 0; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if n == maxKeys {
			return nil, fmt.Errorf("%w: it has more than %d keys", ErrClusterKey, maxKeys)
		}
		k, err := decodeKeyBlock(block, credential.with(r...))
		clear(block.Bytes)
		if err != nil {
			return nil, err
		}
		r = r.with(k)
	}
	if len(r) == 0 {
		return nil, fmt.Errorf("%w: it has no %q block", ErrClusterKey, clusterKeyType)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("%w: behind its keys is something else", ErrClusterKey)
	}
	return r, nil
}

func decodeKeyBlock(block *pem.Block, by keyring) (clusterKey, error) {
	switch block.Type {
	case clusterKeyType:
		return newClusterKey(block.Bytes)
	case sealedKeyType:
		return by.openKey(block.Bytes)
	}
	return clusterKey{}, fmt.Errorf("%w: it has a %q block", ErrClusterKey, block.Type)
}

// openKey opens a cluster key that another one of the ring has sealed.
func (r keyring) openKey(sealed []byte) (clusterKey, error) {
	by, err := r.keyOf("next "+roleClusterKey, sealed)
	if err != nil {
		return clusterKey{}, err
	}
	secret, err := by.openBytes(roleClusterKey, sealed)
	if err != nil {
		return clusterKey{}, err
	}
	defer clear(secret)
	return newClusterKey(secret)
}

// held is what a member finds of its keys when it looks.
type held struct {
	ring       keyring
	credential keyring // the part that systemd has handed over
	plain      bool    // keys of the credential lie in Dir as well
}

// readKeys returns the keys in the credential and in Dir. The error is
// fs.ErrNotExist if there are none, or one of decodeKeyring.
func (c Config) readKeys() (held, error) {
	var h held
	if c.Credential != "" {
		text, err := os.ReadFile(c.Credential)
		if err == nil {
			h.credential, err = decodeKeyring(text, nil)
		}
		clear(text)
		if err != nil {
			return h, fmt.Errorf("%s: %w", c.Credential, err)
		}
	}
	path := c.keyPath()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && len(h.credential) > 0 {
		h.ring = h.credential
		return h, nil
	}
	if err != nil {
		return h, err
	}
	defer clear(text)
	more, err := decodeKeyring(text, h.credential)
	if err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	h.ring = h.credential.with(more...)
	h.plain = len(h.credential) > 0 && bytes.Contains(text, []byte("BEGIN "+clusterKeyType))
	return h, nil
}

func (c Config) keyPath() string { return filepath.Join(c.Dir, clusterKeyFile) }

// writeKeys makes the ring what Dir has. It is durable when writeKeys returns,
// and the credential's keys are not in it.
func (c Config) writeKeys(r, credential keyring) error {
	text := r.encode(credential)
	defer clear(text)
	if len(text) == 0 {
		if err := os.Remove(c.keyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(c.Dir)
	}
	if err := writeFile(c.keyPath(), text); err != nil {
		return fmt.Errorf("keep the cluster key: %w", err)
	}
	return nil
}
