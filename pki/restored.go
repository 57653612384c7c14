// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A backup has the ledger in it. Who restores it with the cluster key goes on
// with the CA: certificates of clients and services stay valid, and what was
// revoked stays so. Members are others, in a cluster with another id, and make
// themselves certificates at their first start. Who restores it without begins
// with another CA, which knows none of those certificates.

// ErrNoCA means that a backup has no CA in it.
var ErrNoCA = errors.New("pki: the backup has no certificate authority in it")

// Backup gathers what of a ledger is to be kept for a restored cluster, and who
// holds certificates of it. It is used by one goroutine.
type Backup struct {
	ca      []byte
	holders map[string]holder // by serial
	revoked map[string]bool
}

type holder struct{ name, profile string }

// NewBackup returns one that has seen nothing.
func NewBackup() *Backup {
	return &Backup{holders: make(map[string]holder), revoked: make(map[string]bool)}
}

// Restorable says whether what an item says still holds in a restored cluster
// that keeps the CA. Invitations and one-time tokens do not: they may have been
// used since. Nor does what is said of members, who are others.
func Restorable(bucket string) bool {
	switch bucket {
	case tokensBucket, keysBucket:
		return false
	}
	return strings.HasPrefix(bucket, bucketPrefix)
}

// See looks at one item, which it does not keep.
func (b *Backup) See(bucket string, key, value []byte, now time.Time) {
	switch bucket {
	case caBucket:
		if string(key) == caKey {
			b.ca = slices.Clone(value)
		}
	case bucketPrefix + revokedTable:
		b.revoked[string(key)] = true
	case bucketPrefix + certificatesTable:
		leaf, err := x509.ParseCertificate(value)
		if err != nil || len(leaf.URIs) != 0 || !now.Before(leaf.NotAfter) {
			return // a member's, or nobody's
		}
		b.holders[string(key)] = holderOf(leaf)
	}
}

func holderOf(leaf *x509.Certificate) holder {
	if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return holder{leaf.Subject.CommonName, string(Client)}
	}
	name := leaf.Subject.CommonName
	if name == "" && len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	} else if name == "" && len(leaf.IPAddresses) > 0 {
		name = leaf.IPAddresses[0].String()
	}
	return holder{name, string(Server)}
}

// Holders names, in order and each once, who holds a certificate that is valid
// now and was not revoked: "alice", or "db.example.org (server)".
func (b *Backup) Holders() []string {
	var names []string
	for serial, h := range b.holders {
		switch {
		case b.revoked[serial]:
		case h.profile == string(Client):
			names = append(names, h.name)
		default:
			names = append(names, fmt.Sprintf("%s (%s)", h.name, h.profile))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Opens says whether the text of a cluster.key opens the CA. The error is
// ErrNoCA, ErrClusterKey, ErrSealed or ErrFormat.
func (b *Backup) Opens(keys []byte) error {
	if b.ca == nil {
		return ErrNoCA
	}
	record, err := decodeCA(b.ca)
	if err != nil {
		return err
	}
	ring, err := decodeKeyring(keys, nil)
	if err != nil {
		return err
	}
	_, err = record.unlock(nowhere{}, ring)
	return err
}

// PlaceKeys makes the text of a cluster.key that of a member which has none, in
// its Dir, which may not exist yet.
func PlaceKeys(dir string, keys []byte) error {
	ring, err := decodeKeyring(keys, nil)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, clusterKeyFile), ring.encode(nil))
}
