// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/smallstep/certificates/acme"
	"go.step.sm/crypto/jose"

	"github.com/cleatd/cleat/pki"
)

// An account is known by the thumbprint of its key, so that two members cannot make
// two of one key. An ACME certificate is known by its serial number; the certificate
// itself lies where all do.
//
//	pki/acme_accounts:      <thumbprint>  ->  accountRecord, in JSON
//	pki/acme_certificates:  <serial>  ->  certificateRecord, in JSON
const (
	accountsBucket     = "pki/acme_accounts"
	certificatesBucket = "pki/acme_certificates"
	accountFormat      = 1

	// An account that never had a certificate ends after an hour, so that strangers
	// cannot leave many; any other a good year after its last one.
	unusedAccount = time.Hour
	usedAccount   = 400 * 24 * time.Hour
	maxContacts   = 10

	certificateGrace = 7 * 24 * time.Hour // as long as pki keeps the certificate itself
)

type accountRecord struct {
	Format      int              `json:"format"`
	Key         *jose.JSONWebKey `json:"key"`
	Contact     []string         `json:"contact,omitempty"`
	Status      acme.Status      `json:"status"`
	Provisioner string           `json:"provisioner"`
	Used        time.Time        `json:"used,omitzero"` // when it had its last certificate
	Made        time.Time        `json:"made"`
}

func (r accountRecord) op(id string, old []byte) pki.Op {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("ca: encode an account: %v", err)) // it has no fields that JSON lacks
	}
	op := pki.Op{Bucket: accountsBucket, Key: []byte(id), Value: raw, Expires: r.Made.Add(unusedAccount), If: pki.Equals, Old: old}
	if !r.Used.IsZero() {
		op.Expires = r.Used.Add(usedAccount)
	}
	if old == nil {
		op.If = pki.Absent
	}
	return op
}

// CreateAccount makes the account of a key.
func (t *tables) CreateAccount(ctx context.Context, acc *acme.Account) error {
	if len(acc.Contact) > maxContacts {
		return malformed("an account has at most %d contacts", maxContacts)
	}
	var err error
	if acc.ID, err = acme.KeyToID(acc.Key); err != nil {
		return err
	}
	record := accountRecord{
		Format: accountFormat, Key: acc.Key, Contact: acc.Contact, Status: acc.Status,
		Provisioner: acc.ProvisionerName, Made: time.Now().UTC().Truncate(time.Second),
	}
	done, err := t.ledger.Commit(ctx, []pki.Op{record.op(acc.ID, nil)})
	if err == nil && !done {
		err = malformed("the key was registered by another request just now; ask again")
	}
	return err
}

func (t *tables) account(ctx context.Context, id string) (accountRecord, []byte, error) {
	var r accountRecord
	raw, err := t.ledger.Get(ctx, accountsBucket, []byte(id))
	if err != nil {
		return r, nil, err
	}
	if raw == nil {
		return r, nil, acme.ErrNotFound
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, nil, fmt.Errorf("decode account %s: %w", id, err)
	}
	if r.Format != accountFormat {
		return r, nil, fmt.Errorf("%w: account %s has format %d, this version reads %d", pki.ErrFormat, id, r.Format, accountFormat)
	}
	return r, raw, nil
}

// GetAccount returns acme.ErrNotFound if there is none. Its place is left out, so
// that a client may go on at another member, by another name.
func (t *tables) GetAccount(ctx context.Context, id string) (*acme.Account, error) {
	r, _, err := t.account(ctx, id)
	if err != nil {
		return nil, err
	}
	return &acme.Account{ID: id, Key: r.Key, Contact: r.Contact, Status: r.Status, ProvisionerName: r.Provisioner}, nil
}

// GetAccountByKeyID is GetAccount: both ids are the key's thumbprint.
func (t *tables) GetAccountByKeyID(ctx context.Context, thumbprint string) (*acme.Account, error) {
	return t.GetAccount(ctx, thumbprint)
}

// UpdateAccount takes over what a client may change.
func (t *tables) UpdateAccount(ctx context.Context, acc *acme.Account) error {
	if len(acc.Contact) > maxContacts {
		return malformed("an account has at most %d contacts", maxContacts)
	}
	return t.changeAccount(ctx, acc.ID, func(r *accountRecord) { r.Contact, r.Status = acc.Contact, acc.Status })
}

func (t *tables) changeAccount(ctx context.Context, id string, change func(*accountRecord), more ...pki.Op) error {
	for {
		r, old, err := t.account(ctx, id)
		if err != nil {
			return err
		}
		change(&r)
		if done, err := t.ledger.Commit(ctx, append(more, r.op(id, old))); err != nil || done {
			return err
		}
	}
}

type certificateRecord struct {
	Account string   `json:"account"`
	Order   string   `json:"order"`
	Chain   [][]byte `json:"chain"` // DER, without the certificate
}

// CreateCertificate notes whose a certificate is, and that its account is in use.
func (t *tables) CreateCertificate(ctx context.Context, c *acme.Certificate) error {
	c.ID = c.Leaf.SerialNumber.String()
	record := certificateRecord{Account: c.AccountID, Order: c.OrderID}
	for _, above := range c.Intermediates {
		record.Chain = append(record.Chain, above.Raw)
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	err = t.changeAccount(ctx, c.AccountID, func(r *accountRecord) { r.Used = now }, pki.Op{
		Bucket: certificatesBucket, Key: []byte(c.ID), Value: raw, Expires: c.Leaf.NotAfter.Add(certificateGrace),
	})
	if err == nil {
		t.embedded.Issued(c.Leaf)
	}
	return err
}

// GetCertificate returns a certificate that ACME was given.
func (t *tables) GetCertificate(ctx context.Context, id string) (*acme.Certificate, error) {
	serial, ok := new(big.Int).SetString(id, 10)
	if !ok || serial.String() != id {
		return nil, malformed("there is no certificate %q", id)
	}
	raw, err := t.ledger.Get(ctx, certificatesBucket, []byte(id))
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, malformed("there is no certificate %s of ACME's", id)
	}
	var r certificateRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("decode certificate %s: %w", id, err)
	}
	c := &acme.Certificate{ID: id, AccountID: r.Account, OrderID: r.Order}
	if c.Leaf, _, err = t.authority.Recorded(ctx, serial); err != nil {
		return nil, err
	}
	for _, der := range r.Chain {
		above, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("decode the chain of certificate %s: %w", id, err)
		}
		c.Intermediates = append(c.Intermediates, above)
	}
	return c, nil
}

// GetCertificateBySerial is GetCertificate.
func (t *tables) GetCertificateBySerial(ctx context.Context, serial string) (*acme.Certificate, error) {
	return t.GetCertificate(ctx, serial)
}
