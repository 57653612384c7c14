// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// certificates looks at the files that the member has its identity in. What is
// in force, and how old it is, the members have told.
func (p *patient) certificates() {
	dir := filepath.Join(p.dataDir, "pki")
	if p.dataDir == "" {
		p.add(skipped, "certificates", "", "there is no data directory to look at")
		return
	}
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && p.status == nil {
		p.add(good, "certificates", "", "there are none yet: the first start makes them")
		return
	}
	if err != nil {
		p.unseen("certificates", err)
		return
	}
	before := len(p.findings)
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if info, err := f.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			p.add(fault, "certificates", "chmod 0600 "+path+"; if anybody may have read it, begin a new cluster from a snapshot", "others than its owner may read %s (mode %04o)", path, info.Mode().Perm())
		}
	}
	if err := keyIn(dir); err != nil && p.status.GetClusterKey() == nil { // else the member knows better: systemd may hand it over
		p.add(fault, "certificates", "put it back from another member or an export (cleatctl ca unlock FILE), unless systemd hands it over", "%s: %v", dir, err)
	}
	leaf, err := chainOf(dir, time.Now())
	if errors.Is(err, fs.ErrPermission) {
		p.unseen("certificates", err)
		return
	}
	if err != nil {
		p.add(fault, "certificates", "restart the member, which makes itself another as long as cluster.key and ca.json are good; else let it join again", "%s: %v", dir, err)
	}
	if len(p.findings) == before {
		p.add(good, "certificates", "", "key and chain are good until %s, and nobody else may read them", leaf.NotAfter.Format(time.RFC3339))
	}
}

// keyIn says why there is no cluster key.
func keyIn(dir string) error {
	_, err := os.Stat(filepath.Join(dir, "cluster.key"))
	return err
}

// chainOf reads the member's certificate and holds it against the CA's.
func chainOf(dir string, now time.Time) (*x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(dir, "member.pem"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("member.pem: %w", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "ca.json"))
	if err != nil {
		return nil, err
	}
	roots, middle, err := authorities(raw)
	if err != nil {
		return nil, fmt.Errorf("ca.json: %w", err)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return pair.Leaf, err
}

// exportedKey is what the doctor says of the one file without which a restored
// cluster has another CA.
func (p *patient) exportedKey() {
	key := p.status.GetClusterKey()
	switch {
	case key == nil: // the member does not answer, or is older than this program
	case key.GetExported():
		p.add(good, "cluster key", "", "key %s was exported", key.GetId())
	default:
		p.add(warning, "cluster key", "cleatctl ca key export FILE, and keep FILE and its passphrase apart from the backups",
			"key %s was never exported: if all members are lost, their backup comes back with another CA, and every client needs a new certificate", key.GetId())
	}
}

// authorities are the CA's certificates; while it is rotated there are two of
// each.
func authorities(raw []byte) (roots, middle *x509.CertPool, err error) {
	type generation struct {
		Root, Intermediate []byte
		Between            [][]byte
	}
	var ca struct {
		generation
		Rotation struct{ Other generation }
	}
	if err := json.Unmarshal(raw, &ca); err != nil {
		return nil, nil, err
	}
	roots, middle = x509.NewCertPool(), x509.NewCertPool()
	for _, g := range []generation{ca.generation, ca.Rotation.Other} {
		if g.Root == nil {
			continue
		}
		root, err := x509.ParseCertificate(g.Root)
		if err != nil {
			return nil, nil, err
		}
		roots.AddCert(root)
		for _, der := range append([][]byte{g.Intermediate}, g.Between...) {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, nil, err
			}
			middle.AddCert(c)
		}
	}
	return roots, middle, nil
}
