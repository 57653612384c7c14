// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// bundleOf makes a CA and, signed by it, a certificate for both sides.
func bundleOf(t *testing.T, hosts ...net.IP) bundle {
	t.Helper()
	files := newBundle(t.TempDir(), "c")
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root of " + t.Name()}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, rootPEM := certify(t, root, root, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "c"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: hosts,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	key, cert := certify(t, leaf, root, rootKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), cert, rootPEM, false); err != nil {
		t.Fatal(err)
	}
	return files
}

// certify signs template with by, or with its own key when by is nil.
func certify(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// demanding serves gRPC to clients with a certificate of its own CA.
func demanding(t *testing.T, files bundle) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	rootPEM, err := os.ReadFile(files.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(rootPEM)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS13,
	})))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return listener.Addr().String()
}

func TestEachWayAHandshakeFailsSaysWhatToDo(t *testing.T) {
	local := net.IPv4(127, 0, 0, 1)
	good, other, homeless := bundleOf(t, local), bundleOf(t, local), bundleOf(t)
	address, nameless := demanding(t, good), demanding(t, homeless)
	for _, c := range []struct {
		name, want string
		line       []string
	}{
		{"as it should be", "this member does not know the call", // it serves nothing, but one can ask
			[]string{"--endpoints=" + address, "--cacert=" + good.ca, "--cert=" + good.cert, "--key=" + good.key}},
		{"no certificate is shown", "show one with --cert and --key",
			[]string{"--endpoints=" + address, "--cacert=" + good.ca}},
		{"a certificate of another CA", "the member refuses the certificate",
			[]string{"--endpoints=" + address, "--cacert=" + good.ca, "--cert=" + other.cert, "--key=" + other.key}},
		{"the bundle of another CA", "--cacert is not the bundle of this member's CA",
			[]string{"--endpoints=https://" + address, "--cacert=" + other.ca, "--cert=" + good.cert, "--key=" + good.key}},
		{"an address that the certificate does not hold", "use a name or address that the member's certificate holds",
			[]string{"--endpoints=" + nameless, "--cacert=" + homeless.ca, "--cert=" + homeless.cert, "--key=" + homeless.key}},
		{"plain text", "no answer in plain text",
			[]string{"--endpoints=http://" + address}},
		{"TLS without any file", "connect to https://" + address + ": a cleat member asks for --cacert, --cert and --key",
			[]string{"--endpoints=https://" + address}},
		{"a file that is not there", "no such file",
			[]string{"--endpoints=" + address, "--cacert=" + filepath.Join(t.TempDir(), "none")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := cleatctl(t, append(c.line, "get", "k", "--dial-timeout=300ms")...)
			if code != exitFailed || !strings.Contains(stderr, c.want) {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
		})
	}
}
