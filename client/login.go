// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const clientPort = "2379"

// Login has a member, whose ca door is at address (host and port), give a
// certificate for the token, and writes the bundle into dir, which is made if it
// is missing; a bundle that is there is replaced. The key is made here and goes
// nowhere else; the token names the cluster's root, and nothing is told to who
// cannot show it. The endpoints are those that the member tells, unless some are
// given. What is safe to try again is tried until ctx ends. The error is ErrToken, ErrCluster, a [*Refused], or of the network or the disk.
func Login(ctx context.Context, address, token, dir string, endpoints ...string) (*Bundle, error) {
	token = strings.TrimSpace(token)
	digest, err := rootDigest(token)
	if err != nil {
		return nil, err
	}
	key, csr, err := newKey()
	if err != nil {
		return nil, err
	}
	root, err := findRoot(ctx, address, digest)
	if err != nil {
		return nil, err
	}
	got, err := again(ctx, func() (answer, error) {
		return ask(ctx, address, "/cleat/v1/login", trusting(pool(root)), &question{Token: token, CSR: csr, Time: time.Now()})
	})
	if err != nil {
		return nil, err
	}
	about := about{Format: aboutFormat, Door: address, Endpoints: endpoints, Fixed: len(endpoints) > 0}
	if !about.Fixed {
		about.Endpoints = reachable(got.Endpoints, address)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // of before, perhaps made by hand
		return nil, err
	}
	if err := (&Bundle{dir: dir}).keep(about, got, key, pool(root)); err != nil {
		return nil, err
	}
	return Load(dir + string(os.PathSeparator))
}

// findRoot asks who answers for its roots, and believes the one that the digest
// names. Nothing is told to the other side meanwhile.
func findRoot(ctx context.Context, address string, digest [sha256.Size]byte) (*x509.Certificate, error) {
	got, err := ask(ctx, address, "/cleat/v1/roots", &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}, nil)
	if err != nil {
		return nil, err
	}
	roots, err := certificates([]byte(got.Roots))
	if err != nil {
		return nil, fmt.Errorf("%w: the roots of %s: %w", ErrCluster, address, err)
	}
	at := slices.IndexFunc(roots, func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == digest })
	if at < 0 {
		return nil, fmt.Errorf("%w: %s has not the root that the token names: it is of another cluster, or the token was made before the root was replaced", ErrCluster, address)
	}
	return roots[at], nil
}

// trusting is for a connection to a member that the roots vouch for.
func trusting(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it all
		VerifyConnection:   func(c tls.ConnectionState) error { return verifyMember(c.PeerCertificates, roots) },
	}
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a signing request: %w", err)
	}
	return key, csr, nil
}

// keep checks the answer, which came from a member, and writes the bundle.
func (b *Bundle) keep(a about, got answer, key *ecdsa.PrivateKey, trusted *x509.CertPool) error {
	chain, err := certificates([]byte(got.Chain))
	if err != nil {
		return fmt.Errorf("%w: the certificate in the answer: %w", ErrCluster, err)
	}
	roots, err := certificates([]byte(got.Roots))
	if err != nil {
		return fmt.Errorf("%w: the roots in the answer: %w", ErrCluster, err)
	}
	if !key.PublicKey.Equal(chain[0].PublicKey) {
		return fmt.Errorf("%w: the certificate in the answer is for another key", ErrCluster)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: trusted, Intermediates: pool(chain[1:]...), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: chain[0].NotAfter, // this clock may be a little behind the one that issued it
	})
	if err != nil {
		return fmt.Errorf("%w: the certificate in the answer: %w", ErrCluster, err)
	}
	a.Serial, a.Issued = chain[0].SerialNumber.String(), time.Now().UTC()
	text, err := encodeIdentity(key, chain)
	if err != nil {
		return err
	}
	return b.write(a, encodeCertificates(roots), text)
}

// encodeIdentity puts the key and the chain into one text.
func encodeIdentity(key *ecdsa.PrivateKey, chain []*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), encodeCertificates(chain)...), nil
}

func encodeCertificates(certs []*x509.Certificate) (text []byte) {
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// reachable are the endpoints that can be reached from where the door was. A
// member that only listens on its own machine tells that address, one that
// listens everywhere may tell none; then the door's host is the best guess.
func reachable(endpoints []string, door string) []string {
	host, _, _ := net.SplitHostPort(door)
	var out []string
	for _, endpoint := range endpoints {
		parsed, err := url.Parse(endpoint)
		if err != nil || parsed.Hostname() == "" || unspecified(parsed.Hostname()) || loopback(parsed.Hostname()) && !loopback(host) {
			continue
		}
		out = append(out, endpoint)
	}
	if len(out) == 0 {
		out = []string{"https://" + net.JoinHostPort(host, clientPort)}
	}
	return out
}

func unspecified(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsUnspecified()
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
