// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority is a CA for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, cert := sign(t, template, authority{cert: template})
	return authority{cert, key}
}

// issue makes a certificate for name, good for both sides of a connection.
func (a authority) issue(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", cert.Raw), encode("PRIVATE KEY", der)
}

func sign(t *testing.T, template *x509.Certificate, by authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by.key == nil {
		by.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// write puts the files of user name under authority a into dir.
func write(t *testing.T, dir string, a authority, name string) Config {
	t.Helper()
	files := Config{CACert: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "c.crt"), Key: filepath.Join(dir, "c.key")}
	cert, key := a.issue(t, name)
	for path, content := range map[string][]byte{files.CACert: encode("CERTIFICATE", a.cert.Raw), files.Cert: cert, files.Key: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// serve accepts with certificates of authority a and tells each caller's name.
func serve(t *testing.T, a authority) (address string, callers <-chan string) {
	t.Helper()
	cert, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	names, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			secure := conn.(*tls.Conn)
			name := "refused"
			if secure.Handshake() == nil {
				name = secure.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			names <- name
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String(), names
}

// connect shakes hands through Credentials.
func connect(t *testing.T, files Config, address string, again func()) (first, second error) {
	t.Helper()
	creds, err := files.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	shake := func() error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _, err = creds.Clone().ClientHandshake(t.Context(), address, conn)
		return err
	}
	first = shake()
	again()
	return first, shake()
}

func TestANewCertificateIsShownWithoutARestart(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	address, callers := serve(t, ca)
	var before string
	first, second := connect(t, write(t, dir, ca, "alice"), address, func() {
		before = <-callers
		write(t, dir, ca, "bob")
	})
	if after := <-callers; first != nil || second != nil || before != "alice" || after != "bob" {
		t.Fatalf("%s, then %s: %v, %v", before, after, first, second)
	}
}

func TestANewBundleIsTrustedWithoutARestart(t *testing.T) {
	old, ca, dir := newAuthority(t), newAuthority(t), t.TempDir()
	address, callers := serve(t, ca)
	first, second := connect(t, write(t, dir, old, "alice"), address, func() {
		if before := <-callers; before != "refused" {
			t.Errorf("with the old bundle: %s", before)
		}
		write(t, dir, ca, "alice")
	})
	if after := <-callers; !errors.As(first, new(x509.UnknownAuthorityError)) || second != nil || after != "alice" {
		t.Fatalf("%v, then %s: %v", first, after, second)
	}
}

func TestFilesBeingReplacedDoNoHarm(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	address, callers := serve(t, ca)
	files := write(t, dir, ca, "alice")
	_, second := connect(t, files, address, func() {
		<-callers
		cert, _ := ca.issue(t, "bob") // whose key is not there yet
		if err := os.WriteFile(files.Cert, cert, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(files.CACert); err != nil {
			t.Fatal(err)
		}
	})
	if after := <-callers; second != nil || after != "alice" {
		t.Fatalf("%s: %v", after, second)
	}
}

func TestTLSFollowsTheCertificateToo(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	address, callers := serve(t, ca)
	config, err := write(t, dir, ca, "alice").TLS()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		write(t, dir, ca, name)
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-callers; got != name {
			t.Errorf("got %s, want %s", got, name)
		}
		conn.Close()
	}
}

func TestAnotherNameThanTheServersIsRefused(t *testing.T) {
	ca := newAuthority(t)
	address, callers := serve(t, ca)
	creds, err := write(t, t.TempDir(), ca, "alice").Credentials()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, err = creds.ClientHandshake(t.Context(), "elsewhere.example:2379", conn)
	if !errors.As(err, new(x509.HostnameError)) {
		t.Errorf("got %v", err)
	}
	<-callers
}

func TestFilesThatCannotBeReadAreNamed(t *testing.T) {
	dir := t.TempDir()
	files := write(t, dir, newAuthority(t), "alice")
	if _, err := (Config{CACert: files.Key}).TLS(); !errors.Is(err, ErrNoCertificates) {
		t.Errorf("a key as bundle: %v", err)
	}
	if _, err := (Config{CACert: dir + "/none"}).Credentials(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bundle: %v", err)
	}
	if _, err := (Config{Cert: files.Cert, Key: dir + "/none"}).TLS(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
	if config, err := (Config{}).TLS(); err != nil || config.RootCAs != nil {
		t.Errorf("no files: %v, %v", config, err)
	}
}
