// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/certificates/db"
	"github.com/smallstep/nosql/database"
)

const (
	// storeLimit bounds one call to the ledger, since smallstep's database knows
	// no context.
	storeLimit = 10 * time.Second
	// storeAttempts bounds how often an update that reads is tried again when
	// what it read has changed.
	storeAttempts = 10
	// recordGrace is how long the record of a certificate outlives it, so that a
	// person can still look up why something stopped working.
	recordGrace = 7 * 24 * time.Hour

	bucketPrefix      = "pki/" // of smallstep's tables in the ledger
	certificatesTable = "x509_certs"
	dataTable         = "x509_certs_data"
	revokedTable      = "revoked_x509_certs"
)

// store is smallstep's database over the ledger. Its tables are buckets, which
// exist by being used. It is safe for concurrent use.
type store struct{ ledger Ledger }

var _ database.DB = store{}

// newDatabase returns what smallstep's authority records certificates in.
func newDatabase(l Ledger) *db.DB { return &db.DB{DB: store{l}} }

func (s store) Open(string, ...database.Option) error { return nil }
func (s store) Close() error                          { return nil }
func (s store) CreateTable([]byte) error              { return nil }

func (s store) DeleteTable(table []byte) error {
	return fmt.Errorf("delete table %s: %w", table, database.ErrOpNotSupported)
}

// Get returns database.ErrNotFound if there is no such key.
func (s store) Get(table, key []byte) ([]byte, error) {
	ctx, cancel := limited()
	defer cancel()
	value, err := s.ledger.Get(ctx, bucket(table), key)
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("%s/%s: %w", table, key, database.ErrNotFound)
	}
	return value, nil
}

func (s store) Set(table, key, value []byte) error {
	ctx, cancel := limited()
	defer cancel()
	_, err := s.ledger.Commit(ctx, []Op{set(table, key, value)})
	return err
}

func (s store) Del(table, key []byte) error {
	ctx, cancel := limited()
	defer cancel()
	_, err := s.ledger.Commit(ctx, []Op{{Bucket: bucket(table), Key: key}})
	return err
}

func (s store) List(table []byte) ([]*database.Entry, error) {
	ctx, cancel := limited()
	defer cancel()
	items, err := s.ledger.List(ctx, bucket(table), nil)
	entries := make([]*database.Entry, len(items))
	for i, item := range items {
		entries[i] = &database.Entry{Bucket: table, Key: item.Key, Value: item.Value}
	}
	return entries, err
}

// CmpAndSwap puts value in the place of old; old == nil means that there must
// be none, value == nil deletes. When it did not swap it returns what is there.
func (s store) CmpAndSwap(table, key, old, value []byte) ([]byte, bool, error) {
	ctx, cancel := limited()
	defer cancel()
	op := Op{Bucket: bucket(table), Key: key}
	if value != nil {
		op = set(table, key, value)
	}
	op.If, op.Old = Equals, old
	if old == nil {
		op.If = Absent
	}
	swapped, err := s.ledger.Commit(ctx, []Op{op})
	if err != nil || swapped {
		return value, swapped, err
	}
	current, err := s.ledger.Get(ctx, op.Bucket, key)
	return current, false, err
}

var errChanged = errors.New("pki: the ledger changed under an update")

// Update carries out the transaction as one commit. What it reads must not
// have changed by then; if it has, the whole is tried again.
func (s store) Update(tx *database.Tx) error {
	ctx, cancel := limited()
	defer cancel()
	for range storeAttempts {
		ops, err := s.plan(ctx, tx)
		if err != nil {
			return err
		}
		if done, err := s.ledger.Commit(ctx, ops); err != nil || done {
			return err
		}
	}
	return errChanged
}

// plan turns a transaction into conditional ops. A value that was read becomes
// the condition of the write to the same key, which is how smallstep uses a
// transaction (it reads a nonce and deletes it); other forms are refused rather
// than carried out without their atomicity.
func (s store) plan(ctx context.Context, tx *database.Tx) ([]Op, error) {
	read := make(map[string][]byte)
	var ops []Op
	for _, entry := range tx.Operations {
		at := string(entry.Bucket) + "\x00" + string(entry.Key)
		op := Op{Bucket: bucket(entry.Bucket), Key: entry.Key}
		switch entry.Cmd {
		case database.CreateTable:
			continue
		case database.Get:
			value, err := s.Get(entry.Bucket, entry.Key)
			if err != nil {
				return nil, err
			}
			entry.Result, read[at] = value, value
			continue
		case database.Set:
			op = set(entry.Bucket, entry.Key, entry.Value)
		case database.Delete:
		default:
			return nil, fmt.Errorf("%v in a transaction: %w", entry.Cmd, database.ErrOpNotSupported)
		}
		if value, was := read[at]; was {
			op.If, op.Old = Equals, value
			delete(read, at)
		}
		ops = append(ops, op)
	}
	if len(read) != 0 {
		return nil, fmt.Errorf("read without a write in a transaction: %w", database.ErrOpNotSupported)
	}
	return expireTogether(ops), nil
}

// expireTogether gives the data of a certificate the expiry of the certificate
// that is recorded beside it.
func expireTogether(ops []Op) []Op {
	for i := range ops {
		if ops[i].Bucket != bucketPrefix+dataTable {
			continue
		}
		for _, other := range ops {
			if other.Bucket == bucketPrefix+certificatesTable && string(other.Key) == string(ops[i].Key) {
				ops[i].Expires = other.Expires
			}
		}
	}
	return ops
}

func set(table, key, value []byte) Op {
	if value == nil {
		value = []byte{}
	}
	return Op{Bucket: bucket(table), Key: key, Value: value, Expires: expiry(string(table), value)}
}

// expiry is when a record may be collected; zero if never.
func expiry(table string, value []byte) time.Time {
	switch table {
	case certificatesTable:
		if cert, err := x509.ParseCertificate(value); err == nil {
			return cert.NotAfter.Add(recordGrace)
		}
	case revokedTable:
		var revoked db.RevokedCertificateInfo
		if json.Unmarshal(value, &revoked) == nil && !revoked.ExpiresAt.IsZero() {
			return revoked.ExpiresAt.Add(recordGrace)
		}
	}
	return time.Time{}
}

func bucket(table []byte) string { return bucketPrefix + string(table) }

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), storeLimit)
}
