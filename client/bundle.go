// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
)

// The files of a bundle. The key and its certificate are one file, so that they
// change in one step; other tools take it for --cert and for --key.
const (
	identityFile = "client.pem"
	rootsFile    = "ca.crt"
	aboutFile    = "bundle.json"
	aboutFormat  = 1
)

// ErrBundle means that a directory is not a bundle, or a damaged one.
var ErrBundle = errors.New("client: not a client's bundle")

// about is what a bundle says besides key, certificate and roots.
type about struct {
	Format    int       `json:"format"`
	Endpoints []string  `json:"endpoints"`       // URLs of client doors
	Fixed     bool      `json:"fixed,omitempty"` // the user named the endpoints: renewals leave them
	Door      string    `json:"door"`            // host and port of the ca door that was logged in at
	Serial    string    `json:"serial"`          // of the certificate that came at Issued
	Issued    time.Time `json:"issued"`
}

// Bundle is what a client over the network needs: a key and its certificate,
// the roots and the endpoints, in a directory. Whoever renews it replaces the
// files; what is made of a Bundle looks at them at each handshake and never has
// to be made anew. It is safe for concurrent use.
type Bundle struct {
	dir   string
	files *files
}

// Load opens a bundle: a context by its name, a directory by its path, which has
// a separator in it, or for "" the current context. The error is ErrNoContext,
// ErrContextName or ErrBundle, or that of a file.
func Load(nameOrDir string) (*Bundle, error) {
	dir, err := find(nameOrDir)
	if err != nil {
		return nil, err
	}
	b := &Bundle{dir: dir}
	if b.files, err = open(b.Files()); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, dir, err)
	}
	if _, err := b.about(); err != nil {
		return nil, err
	}
	return b, nil
}

func find(nameOrDir string) (string, error) {
	if strings.ContainsRune(nameOrDir, filepath.Separator) || strings.Contains(nameOrDir, "/") {
		return nameOrDir, nil
	}
	if nameOrDir == "" {
		current, err := CurrentContext()
		if err != nil {
			return "", err
		}
		if current == "" {
			return "", fmt.Errorf("%w: none is the current one", ErrNoContext)
		}
		nameOrDir = current
	}
	return existing(nameOrDir)
}

// Dir is the directory.
func (b *Bundle) Dir() string { return b.dir }

// Files names its files, for other tools.
func (b *Bundle) Files() Config {
	return Config{
		CACert: filepath.Join(b.dir, rootsFile),
		Cert:   filepath.Join(b.dir, identityFile), Key: filepath.Join(b.dir, identityFile),
	}
}

func (b *Bundle) about() (about, error) {
	var a about
	text, err := os.ReadFile(filepath.Join(b.dir, aboutFile))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %s: %w", ErrBundle, b.dir, err)
	}
	if a.Format != aboutFormat {
		return a, fmt.Errorf("%w: %s has format %d, this version reads %d", ErrBundle, b.dir, a.Format, aboutFormat)
	}
	return a, nil
}

// Endpoints are the URLs of the members' client doors as of now; nil if the
// bundle cannot be read any more.
func (b *Bundle) Endpoints() []string {
	a, _ := b.about()
	return a.Endpoints
}

// Certificate is the client's as of now.
func (b *Bundle) Certificate() *x509.Certificate {
	pair, _ := b.files.refresh()
	return pair.Leaf
}

// Of says whether the token is of the bundle's cluster. The error is ErrToken.
func (b *Bundle) Of(token string) (bool, error) {
	digest, err := rootDigest(strings.TrimSpace(token))
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(b.Files().CACert)
	if err != nil {
		return false, err
	}
	roots, err := certificates(text)
	return err == nil && slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == digest }), err
}

// TLS returns settings for any number of connections, which follow the files: a
// certificate or root that is replaced counts from the next handshake on. They
// go into clientv3.Config.TLS, or wherever a *tls.Config goes. Whoever answers
// must be a member of the cluster, whatever name or address was dialed; a name
// must also be one of that member's (of an address crypto/tls does not tell).
// [Bundle.Credentials] check addresses, too.
func (b *Bundle) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, _ := b.files.refresh()
			return pair, nil
		},
		InsecureSkipVerify: true, // VerifyConnection does it all, by the roots of the moment
		VerifyConnection: func(c tls.ConnectionState) error {
			_, roots := b.files.refresh()
			if err := verifyMember(c.PeerCertificates, roots); err != nil {
				return err
			}
			if c.ServerName != "" {
				return c.PeerCertificates[0].VerifyHostname(c.ServerName)
			}
			return nil
		},
	}
}

// Credentials returns the same for gRPC, which checks what was dialed, name or
// address.
func (b *Bundle) Credentials() credentials.TransportCredentials {
	return &reloading{files: b.files}
}

// RenewAt is when the certificate should be renewed: somewhere between 50 and 80
// percent of its life, at a point that is chance from one certificate to the
// next and does not move while it is the same.
func (b *Bundle) RenewAt() time.Time {
	leaf := b.Certificate()
	issued, life := b.life(leaf)
	chance := sha256.Sum256(leaf.Raw)
	share := float64(binary.BigEndian.Uint64(chance[:])>>11) / (1 << 53)
	return issued.Add(time.Duration((0.5 + 0.3*share) * float64(life)))
}

// life is from when on the certificate was there, and for how long. What it says
// itself lies before that, for clocks that are behind.
func (b *Bundle) life(leaf *x509.Certificate) (issued time.Time, life time.Duration) {
	issued = leaf.NotBefore
	if a, err := b.about(); err == nil && a.Serial == leaf.SerialNumber.String() && a.Issued.After(issued) {
		issued = a.Issued
	}
	return issued, leaf.NotAfter.Sub(issued)
}

// write replaces all of a bundle in a directory that is there. The certificate
// comes last: what names it is of no harm without it.
func (b *Bundle) write(a about, roots, identity []byte) error {
	text, err := json.MarshalIndent(a, "", "\t")
	if err != nil {
		return fmt.Errorf("write as JSON: %w", err)
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{{rootsFile, roots}, {aboutFile, append(text, '\n')}, {identityFile, identity}} {
		if err := exchange(filepath.Join(b.dir, file.name), file.content); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	return nil
}
