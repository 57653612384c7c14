// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// company is a CA that is not ours.
type company struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newCompany(t *testing.T) company {
	t.Helper()
	key := newKey(t)
	root := company{t: t, key: key}
	template := caOf("ACME Root", 20*365*24*time.Hour)
	root.cert = root.sign(template, template, key.Public(), key)
	return root
}

func caOf(name string, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: name, Organization: []string{"ACME"}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func (c company) sign(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

// below returns a CA that c has signed.
func (c company) below(template *x509.Certificate) company {
	key := newKey(c.t)
	return company{c.t, c.sign(template, c.cert, key.Public(), c.key), key}
}

func (c company) keyPEM() []byte {
	c.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestACompanysIntermediateIssuesWithoutRefusingAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		f.run()
		ctx, first := t.Context(), f.members[0]
		old := first.ca().root
		root := newCompany(t)
		between := root.below(caOf("ACME Issuing", 5*365*24*time.Hour))

		raw, err := first.Request(ctx)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(raw)
		if err != nil || csr.CheckSignature() != nil {
			t.Fatalf("%v, %v", err, csr.CheckSignature())
		}
		if again, err := f.members[1].Request(ctx); err != nil || !bytes.Contains(again, csr.RawSubjectPublicKeyInfo) {
			t.Errorf("who asks again gets another key: %v", err)
		}
		template := caOf("ACME cleat", 365*24*time.Hour)
		template.MaxPathLenZero = true
		ours := root.sign(template, between.cert, csr.PublicKey, between.key)
		answer := EncodePEM(ours, between.cert, root.cert)

		alice := issueFor(t, first, "alice", 2*time.Hour)
		if err := f.members[2].Import(ctx, answer, nil, StepIssuing); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if s := f.standing(); s.Rotation == nil || s.Rotation.Step != StepIssuing || s.Rotation.Left() != 0 || !s.Rotation.Crossed || s.Roots[0].Held {
			t.Fatalf("%+v", s.Rotation)
		}
		bob := issueFor(t, f.members[1], "bob", 2*time.Hour)
		f.verified("issuing", "old", old)
		f.verified("issuing", "company's", root.cert)
		f.accepted("issuing", map[string]tls.Certificate{"alice": alice, "bob": bob})
		if err := first.Resume(ctx, ""); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Hour)
		if s := f.standing(); s.Rotation != nil || len(s.Roots) != 1 || !s.Roots[0].Equal(root.cert) {
			t.Fatalf("it does not end: %+v", s)
		}
		f.verified("afterwards", "company's", root.cert)
		f.accepted("afterwards", nil)

		f.refusesTheRest(root, between)
		f.comesBack(root)
	})
}

// refusesTheRest fails the test if any other certificate of the company opens a
// door here.
func (f *fleet) refusesTheRest(root, between company) {
	f.t.Helper()
	stranger := between.below(caOf("ACME other", time.Hour*24*365))
	leaf := root.sign(&x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: "mallory"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, stranger.cert, newKey(f.t).Public(), stranger.key)
	for _, a := range f.members {
		if err := a.verifyClient(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, stranger.cert, between.cert}}); RefusalReason(err) != ReasonUnknownAuthority {
			f.t.Errorf("a certificate of the same company: %v", err)
		}
	}
}

// comesBack rotates to a root of the cluster's own again. Nobody can sign it with
// the company's key, so it waits for the clients to be given it.
func (f *fleet) comesBack(root company) {
	f.t.Helper()
	ctx, first := f.t.Context(), f.members[0]
	if err := first.Rotate(ctx, RotateIntermediate, ""); !errors.Is(err, ErrRotation) || !strings.Contains(err.Error(), "ca import --csr") {
		f.t.Errorf("an intermediate under a root whose key is not here: %v", err)
	}
	if err := first.Rotate(ctx, RotateRoot, ""); err != nil {
		f.t.Fatal(err)
	}
	pass(time.Minute)
	s := f.standing()
	if s.Rotation == nil || s.Rotation.Step != StepTrusted || s.Rotation.Crossed {
		f.t.Fatalf("it does not wait: %+v", s.Rotation)
	}
	f.verified("before the way back", "company's", root.cert)
	f.verified("before the way back", "own new", s.Roots[1].Certificate)
	if err := first.Resume(ctx, ""); err != nil {
		f.t.Fatal(err)
	}
	pass(3 * time.Hour)
	if s := f.standing(); s.Rotation != nil || !s.Roots[0].Held {
		f.t.Errorf("not back: %+v", s)
	}
}

func TestAnIntermediateThatCannotBeUsedIsNotTaken(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	root := newCompany(t)
	year := 365 * 24 * time.Hour
	usual := root.below(caOf("ACME cleat", year))
	constrained := root.below(func() *x509.Certificate { c := caOf("no CA below", year); c.MaxPathLenZero = true; return c }())
	tooDeep := constrained.below(caOf("below it", year))
	noCA := root.below(func() *x509.Certificate { c := caOf("leaf", year); c.IsCA = false; c.KeyUsage = 0; return c }())
	serverOnly := root.below(func() *x509.Certificate {
		c := caOf("web", year)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		return c
	}())
	noLists := root.below(func() *x509.Certificate { c := caOf("no lists", year); c.KeyUsage = x509.KeyUsageCertSign; return c }())
	soon := root.below(caOf("soon over", 24*time.Hour))
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	oddOne := company{t, root.sign(caOf("P-224", year), root.cert, odd.Public(), root.key), odd}
	own := company{t, root.sign(caOf("ours already", year), root.cert, a.ca().signer.Public(), root.key), a.ca().signer}
	for name, c := range map[string]struct {
		certs []*x509.Certificate
		key   []byte
		want  string
	}{
		"no chain":                 {[]*x509.Certificate{usual.cert}, usual.keyPEM(), "add all up to the root"},
		"another key":              {[]*x509.Certificate{usual.cert, root.cert}, root.keyPEM(), "the key is not that of"},
		"the root first":           {[]*x509.Certificate{root.cert, usual.cert}, root.keyPEM(), "is a root"},
		"not a CA":                 {[]*x509.Certificate{noCA.cert, root.cert}, noCA.keyPEM(), "not a CA's"},
		"a path too long":          {[]*x509.Certificate{tooDeep.cert, constrained.cert, root.cert}, tooDeep.keyPEM(), "too many intermediates"},
		"for servers only":         {[]*x509.Certificate{serverOnly.cert, root.cert}, serverOnly.keyPEM(), "incompatible key usage"},
		"no lists":                 {[]*x509.Certificate{noLists.cert, root.cert}, noLists.keyPEM(), "cRLSign"},
		"soon over":                {[]*x509.Certificate{soon.cert, root.cert}, soon.keyPEM(), "30 days at least"},
		"a curve nobody speaks":    {[]*x509.Certificate{oddOne.cert, root.cert}, oddOne.keyPEM(), "P-224"},
		"the key that issues":      {[]*x509.Certificate{own.cert, root.cert}, own.keyPEM(), "a rotation must bring another key"},
		"no key in PEM":            {[]*x509.Certificate{usual.cert, root.cert}, []byte("key"), "no private key in PEM"},
		"an encrypted key":         {[]*x509.Certificate{usual.cert, root.cert}, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "openssl pkey"},
		"no key, and none waiting": {[]*x509.Certificate{usual.cert, root.cert}, nil, "ca import --csr"},
		"no certificate":           {nil, usual.keyPEM(), "no certificate in it"},
	} {
		err := a.Import(t.Context(), EncodePEM(c.certs...), c.key, "")
		if !errors.Is(err, ErrImport) && !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if a.Rotating() != "" {
		t.Error("a rotation is under way all the same")
	}
	ec, err := x509.MarshalECPrivateKey(usual.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	asOpenssl := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ec}))
	if err := a.Import(t.Context(), EncodePEM(usual.cert, root.cert), asOpenssl, ""); err != nil {
		t.Fatal(err)
	}
	if err := a.Import(t.Context(), EncodePEM(usual.cert, root.cert), usual.keyPEM(), ""); !errors.Is(err, ErrImport) {
		t.Errorf("the same again: %v", err)
	}
	items, err := c.Ledger.List(t.Context(), caBucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(usual.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if bytes.Contains(item.Value, private[40:80]) || bytes.Contains(item.Value, []byte("PRIVATE KEY")) {
			t.Error("a key lies in the ledger unsealed")
		}
	}
}

func FuzzParseSigner(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if signer, err := parseSigner(text); err == nil && signer == nil {
			t.Error("no key, and no error")
		}
	})
}
