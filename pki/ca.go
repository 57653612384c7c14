// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/smallstep/certificates/cas"
	casapi "github.com/smallstep/certificates/cas/apiv1"
)

const (
	caBucket = bucketPrefix + "ca"
	caKey    = "current"
	caFormat = 1

	// The roles of the sealed keys; part of what is sealed, so never renamed.
	roleRoot         = "root"
	roleIntermediate = "intermediate"
)

// caRecord is the CA as it lies in the ledger, in JSON: one item, so that it is
// made, and later replaced, as a whole by compare-and-swap.
type caRecord struct {
	Format          int    `json:"format"`
	Version         uint64 `json:"version,omitzero"` // one more with every change, by whoever makes it
	Root            []byte `json:"root"`             // DER
	Intermediate    []byte `json:"intermediate"`     // DER
	RootKey         []byte `json:"root_key"`         // sealed
	IntermediateKey []byte `json:"intermediate_key"` // sealed

	raw []byte // all of it, as it was read
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
	g, err := newGeneration(r.Root, r.Intermediate)
	return []generation{g}, err
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
	return newIssuer(l, r, signer)
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

// makeCA has smallstep make a root without a path length, since one with a
// path length could never be cross-signed by its successor, and an
// intermediate that can sign leaves only. Both end at the same moment.
func makeCA(ctx context.Context, cluster uint64, key clusterKey) ([]byte, error) {
	creator, err := cas.NewCreator(ctx, casapi.Options{Type: casapi.SoftCAS})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	root, err := creator.CreateCertificateAuthority(&casapi.CreateCertificateAuthorityRequest{
		Type: casapi.RootCA, Lifetime: caTTL, Template: caTemplate("root", cluster, now, false),
	})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	intermediate, err := creator.CreateCertificateAuthority(&casapi.CreateCertificateAuthorityRequest{
		Type: casapi.IntermediateCA, Lifetime: caTTL, Template: caTemplate("intermediate", cluster, now, true), Parent: root,
	})
	if err != nil {
		return nil, fmt.Errorf("intermediate: %w", err)
	}
	record := caRecord{Format: caFormat, Root: root.Certificate.Raw, Intermediate: intermediate.Certificate.Raw}
	if record.RootKey, err = key.seal(roleRoot, root.PrivateKey); err != nil {
		return nil, err
	}
	if record.IntermediateKey, err = key.seal(roleIntermediate, intermediate.PrivateKey); err != nil {
		return nil, err
	}
	return json.Marshal(record)
}

func caTemplate(kind string, cluster uint64, now time.Time, leavesOnly bool) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("cleat %s %s", kind, hexID(cluster))},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        leavesOnly, // false: no limit at all
	}
}

func decodeCA(raw []byte) (caRecord, error) {
	record := caRecord{raw: raw}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(&record); err != nil {
		return record, fmt.Errorf("decode the CA's record: %w", err)
	}
	if record.Format != caFormat {
		return record, fmt.Errorf("%w: the CA's record has format %d, this version reads %d", ErrFormat, record.Format, caFormat)
	}
	return record, nil
}

// matches says whether the key belongs to the certificate.
func matches(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func hexID(id uint64) string { return fmt.Sprintf("%016x", id) }
