// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/smallstep/certificates/cas"
	casapi "github.com/smallstep/certificates/cas/apiv1"
)

// leastRootLife is what a root must have left for a new intermediate to be worth
// making.
const leastRootLife = 365 * 24 * time.Hour

// makeSuccessor makes a root and an intermediate that are to take the place of
// those of old. They have another name, since some look for a certificate's
// issuer by its name alone.
func makeSuccessor(ctx context.Context, cluster uint64, old generationRecord, key clusterKey) (generationRecord, error) {
	return makeGeneration(ctx, cluster, old.next(), key)
}

// next is the number of the generation after this one.
func (g generationRecord) next() int { return max(g.Number, 1) + 1 }

// makeGeneration has smallstep make a root without a path length, since one with
// a path length could never be cross-signed by its successor, and an intermediate
// that can sign leaves only. Both end at the same moment.
func makeGeneration(ctx context.Context, cluster uint64, number int, key clusterKey) (generationRecord, error) {
	creator, err := cas.NewCreator(ctx, casapi.Options{Type: casapi.SoftCAS})
	if err != nil {
		return generationRecord{}, err
	}
	now := time.Now()
	root, err := creator.CreateCertificateAuthority(&casapi.CreateCertificateAuthorityRequest{
		Type: casapi.RootCA, Lifetime: caTTL, Template: caTemplate("root", cluster, number, now, false),
	})
	if err != nil {
		return generationRecord{}, fmt.Errorf("root: %w", err)
	}
	intermediate, err := creator.CreateCertificateAuthority(&casapi.CreateCertificateAuthorityRequest{
		Type: casapi.IntermediateCA, Lifetime: caTTL, Template: caTemplate("intermediate", cluster, number, now, true), Parent: root,
	})
	if err != nil {
		return generationRecord{}, fmt.Errorf("intermediate: %w", err)
	}
	g := generationRecord{Root: root.Certificate.Raw, Intermediate: intermediate.Certificate.Raw}
	if number > 1 {
		g.Number = number
	}
	if g.RootKey, err = key.seal(roleRoot, root.PrivateKey); err != nil {
		return generationRecord{}, err
	}
	g.IntermediateKey, err = key.seal(roleIntermediate, intermediate.PrivateKey)
	return g, err
}

// makeIntermediate makes another one under the root of old.
func makeIntermediate(ctx context.Context, cluster uint64, old generationRecord, key clusterKey) (generationRecord, error) {
	if old.RootKey == nil {
		return generationRecord{}, fmt.Errorf("%w: the root's key is not the cluster's but that of whoever signed the intermediate: have another one signed (cleatctl ca import --csr)", ErrRotation)
	}
	root, signer, err := old.openRoot(key)
	if err != nil {
		return generationRecord{}, err
	}
	now := time.Now()
	if left := root.NotAfter.Sub(now); left < leastRootLife {
		return generationRecord{}, fmt.Errorf("%w: the root itself ends at %s: rotate that (cleatctl ca rotate --root)", ErrRotation, stamp(root.NotAfter))
	}
	creator, err := cas.NewCreator(ctx, casapi.Options{Type: casapi.SoftCAS})
	if err != nil {
		return generationRecord{}, err
	}
	template := caTemplate("intermediate", cluster, old.next(), now, true)
	if template.NotAfter.After(root.NotAfter) {
		template.NotAfter = root.NotAfter
	}
	made, err := creator.CreateCertificateAuthority(&casapi.CreateCertificateAuthorityRequest{
		Type: casapi.IntermediateCA, Lifetime: caTTL, Template: template,
		Parent: &casapi.CreateCertificateAuthorityResponse{Certificate: root, Signer: signer},
	})
	if err != nil {
		return generationRecord{}, fmt.Errorf("intermediate: %w", err)
	}
	g := generationRecord{Number: old.next(), Root: old.Root, RootKey: old.RootKey, Intermediate: made.Certificate.Raw}
	g.IntermediateKey, err = key.seal(roleIntermediate, made.PrivateKey)
	return g, err
}

// openRoot returns the root with its key.
func (g generationRecord) openRoot(key clusterKey) (*x509.Certificate, crypto.Signer, error) {
	root, err := x509.ParseCertificate(g.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("root certificate in the ledger: %w", err)
	}
	signer, err := key.open(roleRoot, g.RootKey)
	return root, signer, err
}

// cross has the two roots of a rotation sign each other, as far as their keys are
// here. Where the old root's is not, clients that hold only that one must get the
// new one first: then the rotation waits until somebody says that they have.
func (r *caRecord) cross(key clusterKey) (err error) {
	other := &r.Rotation.Other
	if bytes.Equal(r.Root, other.Root) {
		return nil
	}
	if other.Cross, err = crossSign(*other, r.generationRecord, key); err != nil {
		return err
	}
	if r.Cross, err = crossSign(r.generationRecord, *other, key); err != nil {
		return err
	}
	if other.Cross == nil && r.Rotation.Until == "" {
		r.Rotation.Until = StepTrusted
	}
	return nil
}

// crossSign returns the root of subject as the root of by vouches for it, nil if
// that one's key is not here. It carries no path length and ends with the
// earlier of the two.
func crossSign(subject, by generationRecord, key clusterKey) ([]byte, error) {
	if by.RootKey == nil {
		return nil, nil
	}
	parent, signer, err := by.openRoot(key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(subject.Root)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serialNumber(), RawSubject: root.RawSubject, SubjectKeyId: root.SubjectKeyId,
		NotBefore: time.Now().Add(-backdate), NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if parent.NotAfter.Before(template.NotAfter) {
		template.NotAfter = parent.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, root.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("cross-sign the root: %w", err)
	}
	return der, nil
}

func serialNumber() *big.Int {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	raw[0] &= 0x7f
	return new(big.Int).SetBytes(raw)
}

func caTemplate(kind string, cluster uint64, number int, now time.Time, leavesOnly bool) *x509.Certificate {
	name := fmt.Sprintf("cleat %s %s", kind, hexID(cluster))
	if number > 1 {
		name += fmt.Sprintf(" no. %d", number)
	}
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        leavesOnly, // false: no limit at all
	}
}
