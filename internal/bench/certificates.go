// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// credentials are files that let etcd and the floor serve mutual TLS. cleat
// has an authority of its own. All keys are P-256, as cleat's are.
type credentials struct{ authority, certificate, key string }

// makeCredentials writes a CA and one certificate for both sides into dir.
func makeCredentials(dir string) (credentials, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return credentials{}, err
	}
	c := credentials{
		authority:   filepath.Join(dir, "ca.crt"),
		certificate: filepath.Join(dir, "bench.crt"),
		key:         filepath.Join(dir, "bench.key"),
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credentials{}, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credentials{}, err
	}
	if err := sign(c.authority, root, root, &rootKey.PublicKey, rootKey); err != nil {
		return credentials{}, err
	}
	if err := sign(c.certificate, leaf, root, &leafKey.PublicKey, rootKey); err != nil {
		return credentials{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return credentials{}, err
	}
	return c, writePEM(c.key, "PRIVATE KEY", private)
}

func sign(path string, subject, issuer *x509.Certificate, public *ecdsa.PublicKey, private *ecdsa.PrivateKey) error {
	raw, err := x509.CreateCertificate(rand.Reader, subject, issuer, public, private)
	if err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	return writePEM(path, "CERTIFICATE", raw)
}

func writePEM(path, kind string, raw []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600)
}

// load makes a configuration that serves for both sides of a connection.
func (c credentials) load() (*tls.Config, error) {
	raw, err := os.ReadFile(c.authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s: no certificate in it", c.authority)
	}
	pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}
