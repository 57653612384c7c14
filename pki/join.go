// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// joiningSuffix makes the name of the directory in which a member's files are
// gathered: it becomes Dir by one rename, so that a crash leaves all or none.
const joiningSuffix = ".joining"

// Joining is a machine that is about to be a member: it has a key and a token,
// and no CA. It is used by one goroutine.
type Joining struct {
	// Credential is that of the [Config] with which the member will be opened.
	Credential string

	dir   string
	token Token
	key   crypto.Signer
}

// Join makes a key for a member whose Dir will be dir, or takes up the key of an
// attempt that broke off, by which the cluster knows the machine again. The
// error is ErrJoined if dir has anything in it.
func Join(dir string, t Token) (*Joining, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) != 0 {
		return nil, fmt.Errorf("%w: %s", ErrJoined, dir)
	}
	j := &Joining{dir: dir, token: t}
	if err := os.MkdirAll(j.staging(""), 0o700); err != nil {
		return nil, err
	}
	if j.key, err = readKey(j.staging(identityFile)); err == nil {
		return j, nil
	}
	if j.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if err := writeIdentity(j.staging(identityFile), j.key); err != nil {
		return nil, fmt.Errorf("keep the new member's key: %w", err)
	}
	return j, nil
}

func (j *Joining) staging(name string) string { return filepath.Join(j.dir+joiningSuffix, name) }

// readKey returns the private key in an identity's file, which may lack the
// certificate.
func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if signer, ok := key.(crypto.Signer); ok {
		return signer, nil
	}
	return nil, errors.New("its key cannot sign")
}

// TLS returns what the connection to a member's peer door is opened with. The
// token decides who is there: a member whose chain ends in the root with the
// token's digest. Host names are not looked at. A handshake fails with
// ErrTokenDigest, or with ErrClock if the clocks are so far apart that the
// member's certificate is not valid here.
func (j *Joining) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{JoinProtocol},
		InsecureSkipVerify: true, // VerifyConnection does it all, at every handshake
		VerifyConnection: func(c tls.ConnectionState) error {
			return j.token.verify(c.PeerCertificates, time.Now())
		},
	}
}

// verify checks that the chain is a member's and has the token's root in it, at
// which it can end.
func (t Token) verify(chain []*x509.Certificate, now time.Time) error {
	at := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return digestOf(c) == t.Digest })
	if at < 1 {
		return fmt.Errorf("%w: what answers there does not show the root that the token names; it is another cluster, or not cleat's peer door", ErrTokenDigest)
	}
	leaf, roots, between := chain[0], x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[at])
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between,
		CurrentTime: clamp(now, leaf.NotBefore, leaf.NotAfter),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTokenDigest, refuse(leaf, reasonOf(err), err.Error()))
	}
	if _, _, err := identify(leaf); err != nil {
		return fmt.Errorf("%w: %w", ErrTokenDigest, err)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: the member's certificate is valid from %s to %s, here it is %s",
			ErrClock, stamp(leaf.NotBefore), stamp(leaf.NotAfter), stamp(now))
	}
	return nil
}

// Request is what to send over that connection. Name and hosts are those of the
// [Config] with which the member will be opened.
func (j *Joining) Request(name string, hosts []string) (JoinRequest, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, j.key)
	return JoinRequest{Token: j.token, CSR: csr, Name: name, Hosts: hosts, Time: time.Now()}, err
}

// Accept checks the answer and makes it durable: when it returns nil, Dir has
// all that Open needs, Offline too; before that Dir does not exist or is empty.
// The error is ErrAdmission if the answer does not hold together.
func (j *Joining) Accept(m Admission) error {
	chain, err := j.check(m)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAdmission, err)
	}
	if err := j.write(m, chain); err != nil {
		return fmt.Errorf("keep the new member's identity: %w", err)
	}
	return nil
}

// check looks at the answer as the member will that is opened with it.
func (j *Joining) check(m Admission) ([]*x509.Certificate, error) {
	chain, err := decodePEM(m.Chain)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if !matches(chain[0], j.key) {
		return nil, errors.New("the certificate is for another key")
	}
	ring, err := decodeKeyring(m.ClusterKey, nil)
	if err != nil {
		return nil, err
	}
	record, err := decodeCA(m.CA)
	if err != nil {
		return nil, err
	}
	i, err := record.unlock(nowhere{}, ring)
	if err != nil {
		return nil, err
	}
	if !i.hasRoot(j.token) {
		return nil, ErrTokenDigest
	}
	a := &Authority{config: Config{ClusterID: m.ClusterID}}
	a.issuer.Store(i)
	if err := a.verify(chain[0], x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth); err != nil {
		return nil, err
	}
	if err := a.checkMember(chain[0]); err != nil {
		return nil, err
	}
	if id, _ := memberOf(chain[0]); id != m.MemberID {
		return nil, fmt.Errorf("the certificate is of member %s, not %s", hexID(id), hexID(m.MemberID))
	}
	return chain, nil
}

func (j *Joining) write(m Admission, chain []*x509.Certificate) error {
	if err := j.writeKeys(m.ClusterKey); err != nil {
		return err
	}
	if err := writeFile(j.staging(caFile), m.CA); err != nil {
		return err
	}
	if err := writeIdentity(j.staging(identityFile), j.key, chain...); err != nil {
		return err
	}
	// Only an empty directory can be removed.
	if err := os.Remove(j.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(j.staging(""), j.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(j.dir))
}

// writeKeys keeps the cluster keys, but those that systemd hands over.
func (j *Joining) writeKeys(text []byte) error {
	ring, err := decodeKeyring(text, nil)
	if err != nil {
		return err
	}
	var credential keyring
	if j.Credential != "" {
		text, err := os.ReadFile(j.Credential)
		if err == nil {
			credential, err = decodeKeyring(text, nil)
		}
		clear(text)
		if err != nil {
			return fmt.Errorf("%s: %w", j.Credential, err)
		}
		if _, has := ring.byID(credential[0].ID()); !has {
			credential = nil // of another cluster; the member says so when it starts
		}
	}
	return Config{Dir: j.staging("")}.writeKeys(ring, credential)
}

// Abandon forgets the key, when the machine is not to join after all.
func (j *Joining) Abandon() error { return os.RemoveAll(j.staging("")) }

// WhoseDir returns which member of which cluster dir is the Dir of, by its
// certificate, valid or not. The error is fs.ErrNotExist if it is nobody's.
func WhoseDir(dir string) (cluster, member uint64, err error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return 0, 0, err
	}
	chain, err := decodePEM(text)
	if err != nil {
		return 0, 0, fmt.Errorf("%s in %s: %w", identityFile, dir, err)
	}
	return identify(chain[0])
}
