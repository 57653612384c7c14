// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	caBucket = bucketPrefix + "ca"
	caKey    = "current"
	caFormat = 1
	// caFormatRotating is of a record with a rotation in it, or with an intermediate
	// from elsewhere: an older version would take a part for the whole.
	caFormatRotating = 2

	// The roles of the sealed keys; part of what is sealed, so never renamed.
	roleRoot         = "root"
	roleIntermediate = "intermediate"
)

// caRecord is the CA as it lies in the ledger, in JSON: one item, so that it is
// made, and later replaced, as a whole by compare-and-swap.
type caRecord struct {
	Format           int       `json:"format"`
	Version          uint64    `json:"version,omitzero"` // one more with every change, by whoever makes it
	generationRecord           // that issues
	Rotation         *rotation `json:"rotation,omitempty"`

	raw []byte // all of it, as it was read
}

// generationRecord is a generation as it lies there.
type generationRecord struct {
	Number          int      `json:"number,omitzero"`   // of its names; 0: the first
	Root            []byte   `json:"root"`              // DER
	Intermediate    []byte   `json:"intermediate"`      // DER
	Between         [][]byte `json:"between,omitempty"` // DER: what leads from the intermediate to the root
	Cross           []byte   `json:"cross,omitempty"`   // DER: the root, signed by the one of the other generation
	RootKey         []byte   `json:"root_key"`          // sealed; null: it is not here
	IntermediateKey []byte   `json:"intermediate_key"`  // sealed
}

// openCA returns the cluster's CA, which it makes if there is none.
func openCA(ctx context.Context, c Config) (*issuer, error) {
	kept, err := os.ReadFile(filepath.Join(c.Dir, caFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	raw := kept
	if !c.Offline || raw == nil {
		if raw, err = findCA(ctx, c); err != nil {
			return nil, err
		}
	}
	record, err := decodeCA(raw)
	if err != nil && !errors.Is(err, ErrFormat) && bytes.Equal(raw, kept) {
		return nil, fmt.Errorf("%w: %s is damaged: %v; copy the file from another member, or remove it: it is made anew from what the cluster keeps",
			ErrFormat, filepath.Join(c.Dir, caFile), err)
	}
	if err != nil {
		return nil, err
	}
	i, err := record.open(c)
	if err != nil || bytes.Equal(raw, kept) {
		return i, err
	}
	return i, writeFile(filepath.Join(c.Dir, caFile), raw)
}

// unlockCA opens the CA of the record with this member's cluster key.
func unlockCA(c Config, raw []byte) (*issuer, error) {
	record, err := decodeCA(raw)
	if err != nil {
		return nil, err
	}
	return record.open(c)
}

// open opens the CA with the cluster keys that this member holds. If they do not
// fit, or there are none, it is locked: all is known of it but how to sign.
func (r caRecord) open(c Config) (*issuer, error) {
	h := c.vault.hold.Load()
	i, err := r.unlock(c.Ledger, h.ring)
	why := lockedBy(h, err)
	if why == nil {
		return i, err
	}
	if i, err = newIssuer(c.Ledger, r, nil); err == nil {
		i.locked = why
	}
	return i, err
}

// generations returns those whose certificates count, the one that issues first.
func (r caRecord) generations() ([]generation, error) {
	g, err := r.generation()
	if err != nil || r.Rotation == nil {
		return []generation{g}, err
	}
	other, err := r.Rotation.Other.generation()
	if err != nil {
		return nil, fmt.Errorf("the other of a rotation: %w", err)
	}
	return []generation{g, other}, nil
}

// findCA returns the record in the ledger.
func findCA(ctx context.Context, c Config) ([]byte, error) {
	raw, err := c.Ledger.Get(ctx, caBucket, []byte(caKey))
	if err != nil {
		return nil, fmt.Errorf("read the CA from the ledger: %w", err)
	}
	if raw == nil {
		return createCA(ctx, c)
	}
	return raw, nil
}

// unlock opens the CA with the cluster key that has sealed it.
func (r caRecord) unlock(l Ledger, ring keyring) (*issuer, error) {
	key, err := ring.keyOf(roleIntermediate+" key", r.IntermediateKey)
	if err != nil {
		return nil, err
	}
	signer, err := key.open(roleIntermediate, r.IntermediateKey)
	if err != nil {
		return nil, err
	}
	i, err := newIssuer(l, r, signer)
	if err != nil || r.Rotation == nil {
		return i, err
	}
	i.beside = &issuer{generation: i.generations[1]}
	if i.beside.signer, err = key.open(roleIntermediate, r.Rotation.Other.IntermediateKey); err != nil {
		return nil, err
	}
	if !matches(i.beside.intermediate, i.beside.signer) {
		return nil, fmt.Errorf("%w: the other intermediate's key is not of its certificate", ErrSealed)
	}
	return i, nil
}

func adviseOnKey(err error) error {
	if !errors.Is(err, ErrClusterKey) && !errors.Is(err, ErrLocked) {
		return err
	}
	return fmt.Errorf("%w; put the file cluster.key (mode 0600) of this member, from its backup or from another member of the cluster, "+
		"into the directory pki of its data directory, or remove the member and let it join anew", err)
}

// createCA makes a CA and returns the record that is in the ledger afterwards,
// which is another's if that one was faster. The cluster key is on disk before
// anything that it seals is committed. Keys of an attempt that did not make it
// are forgotten: nothing was ever signed with them.
func createCA(ctx context.Context, c Config) ([]byte, error) {
	key, err := c.vault.ensure()
	if err != nil {
		return nil, adviseOnKey(err)
	}
	raw, err := makeCA(ctx, c.ClusterID, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	done, err := c.Ledger.Commit(ctx, []Op{{Bucket: caBucket, Key: []byte(caKey), Value: raw, If: Absent}})
	if err != nil {
		return nil, fmt.Errorf("record the CA: %w", err)
	}
	if done {
		c.Logger.Info("certificate authority made", "cluster", hexID(c.ClusterID))
		return raw, nil
	}
	raw, err = c.Ledger.Get(ctx, caBucket, []byte(caKey))
	if err == nil && raw == nil {
		err = errors.New("it was there and is gone")
	}
	if err != nil {
		return nil, fmt.Errorf("read the CA that another member made: %w", err)
	}
	return raw, nil
}

// makeCA returns the record of a new CA.
func makeCA(ctx context.Context, cluster uint64, key clusterKey) ([]byte, error) {
	g, err := makeGeneration(ctx, cluster, 1, key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(caRecord{Format: caFormat, generationRecord: g})
}

func decodeCA(raw []byte) (caRecord, error) {
	record := caRecord{raw: raw}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(&record); err != nil {
		return record, fmt.Errorf("decode the CA's record: %w", err)
	}
	if record.Format != caFormat && record.Format != caFormatRotating {
		return record, fmt.Errorf("%w: the CA's record has format %d, this version reads up to %d", ErrFormat, record.Format, caFormatRotating)
	}
	if r := record.Rotation; r != nil {
		if _, err := ParseStep(string(r.Step)); err != nil {
			return record, fmt.Errorf("%w: the rotation in the CA's record: %w", ErrFormat, err)
		}
	}
	return record, nil
}

// matches says whether the key belongs to the certificate.
func matches(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func hexID(id uint64) string { return fmt.Sprintf("%016x", id) }
