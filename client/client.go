// SPDX-License-Identifier: Apache-2.0

// Package client gives a Go program what it needs to talk to cleat over the
// network with any etcd v3 client: TLS settings that follow the files on disk.
//
// A cleat member always asks for a client certificate, and both the
// certificate and the CA bundle are renewed while programs run. So the files
// are read again for each handshake: a program never has to be restarted for a
// new certificate. A file that is being replaced, or is gone for a moment,
// does no harm: the last good ones serve until it is whole again.
//
// A person who has logged in with "cleatctl login" has a bundle, with the
// endpoints in it, which [Load] opens by the name of its context:
//
//	bundle, err := client.Load("prod")
//	...
//	etcd, err := clientv3.New(clientv3.Config{Endpoints: bundle.Endpoints(), TLS: bundle.TLS()})
//
// A program that renews its certificate itself runs [Bundle.Keep] beside that.
// Whoever has three files, of "cleatctl cert issue", names them:
//
//	files := client.Config{CACert: "ca.crt", Cert: "alice.crt", Key: "alice.key"}
//	creds, err := files.Credentials()
//	...
//	etcd, err := clientv3.New(clientv3.Config{
//		Endpoints:   []string{"10.0.0.1:2379"},
//		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(creds)},
//	})
package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
)

// ErrNoCertificates means that a CA bundle holds no certificate in PEM.
var ErrNoCertificates = errors.New("client: no certificate in the CA bundle")

// Config names the files that "cleatctl cert issue" writes. Without CACert the
// system's roots are trusted; without Cert and Key no certificate is shown.
type Config struct {
	CACert string // bundle of the CA's certificates, PEM
	Cert   string // this client's certificate and its chain, PEM
	Key    string // its private key, PEM
}

// TLS returns settings for one kind of connection that no gRPC client makes,
// HTTP for one. The certificate follows its files. The CA bundle is the one of
// this call, for crypto/tls offers no hook to exchange it; Credentials does.
func (c Config) TLS() (*tls.Config, error) {
	f, err := open(c)
	if err != nil {
		return nil, err
	}
	config := f.config()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, _ := f.refresh()
		return pair, nil
	}
	return config, nil
}

// files holds the last good content of a Config's files.
type files struct {
	Config

	mu    sync.Mutex
	pair  *tls.Certificate // never nil; empty when there is no certificate
	roots *x509.CertPool   // nil: the system's
}

func open(c Config) (*files, error) {
	f := &files{Config: c}
	pair, err := c.readPair()
	if err != nil {
		return nil, err
	}
	roots, err := c.readRoots()
	if err != nil {
		return nil, err
	}
	f.pair, f.roots = pair, roots
	return f, nil
}

// refresh reads the files again and keeps what cannot be read.
func (f *files) refresh() (*tls.Certificate, *x509.CertPool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pair, err := f.readPair(); err == nil {
		f.pair = pair
	}
	if roots, err := f.readRoots(); err == nil {
		f.roots = roots
	}
	return f.pair, f.roots
}

// config is a fresh tls.Config of this moment.
func (f *files) config() *tls.Config {
	pair, roots := f.refresh()
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		RootCAs:              roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil },
	}
}

func (c Config) readPair() (*tls.Certificate, error) {
	if c.Cert == "" && c.Key == "" {
		return &tls.Certificate{}, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s and key %s: %w", c.Cert, c.Key, err)
	}
	return &pair, nil
}

func (c Config) readRoots() (*x509.CertPool, error) {
	if c.CACert == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CACert)
	if err != nil {
		return nil, fmt.Errorf("read CA bundle: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA bundle %s: %w", c.CACert, ErrNoCertificates)
	}
	return roots, nil
}
