// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/smallstep/certificates/acme"

	"github.com/cleatd/cleat/pki"
)

// An order is one record, its authorizations and challenges included, so that it is
// made by one commit, and changed by compare-and-swap whichever member is asked:
//
//	pki/acme_orders:          <order>  ->  orderRecord, in JSON
//	pki/acme_account_orders:  <account> "/" <order>  ->  nothing
//
// The n-th authorization of an order is <order>-<n>, its m-th challenge
// <order>-<n>-<m>. An order ends unfinished after an hour; what is left of it is
// collected a day later.
const (
	ordersBucket   = "pki/acme_orders"
	accountsOrders = "pki/acme_account_orders"
	orderFormat    = 1

	orderLife = time.Hour
	orderKept = 24 * time.Hour
	maxOrders = 300 // of one account in an hour
	maxNames  = 100 // of one order
)

type orderRecord struct {
	Format         int                   `json:"format"`
	Account        string                `json:"account"`
	Provisioner    string                `json:"provisioner"`
	Status         acme.Status           `json:"status"`
	Identifiers    []acme.Identifier     `json:"identifiers"`
	NotBefore      time.Time             `json:"not_before"`
	NotAfter       time.Time             `json:"not_after"`
	Expires        time.Time             `json:"expires"`
	Certificate    string                `json:"certificate,omitempty"`
	Error          *acme.Error           `json:"error,omitempty"`
	Authorizations []authorizationRecord `json:"authorizations"`
}

type authorizationRecord struct {
	Identifier  acme.Identifier   `json:"identifier"`
	Status      acme.Status       `json:"status"`
	Token       string            `json:"token"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Error       *acme.Error       `json:"error,omitempty"`
	Challenges  []challengeRecord `json:"challenges"`
}

type challengeRecord struct {
	Type      acme.ChallengeType `json:"type"`
	Status    acme.Status        `json:"status"`
	Token     string             `json:"token"`
	Validated string             `json:"validated,omitempty"`
	Error     *acme.Error        `json:"error,omitempty"`
}

// tables are smallstep's database for ACME, for one request.
type tables struct {
	noBindings
	authority *pki.Authority
	embedded  *pki.Embedded
	ledger    pki.Ledger
	names     Names

	draft []authorizationRecord // of the order that this request makes
	order string                // its id; "" until it has one
}

var _ acme.DB = (*tables)(nil)

func (d *Door) tables() *tables {
	return &tables{authority: d.authority, embedded: d.embedded, ledger: d.authority.Ledger(), names: d.current().Names}
}

// CreateChallenge says which one it will be. It is written with its order.
func (t *tables) CreateChallenge(_ context.Context, ch *acme.Challenge) error {
	if t.order == "" {
		t.order = rand.Text()
	}
	ch.ID = fmt.Sprintf("%s-%d-0", t.order, len(t.draft))
	return nil
}

// CreateAuthorization refuses names that ACME may not have. It is written with its
// order.
func (t *tables) CreateAuthorization(_ context.Context, az *acme.Authorization) error {
	switch {
	case az.Wildcard:
		return acme.NewDetailedError(acme.ErrorRejectedIdentifierType, "*.%s: wildcards need dns-01, which this CA does not do", az.Identifier.Value)
	case !t.names.allowed(az.Identifier.Value):
		return acme.NewDetailedError(acme.ErrorRejectedIdentifierType, "acme-names of this member does not allow %q", az.Identifier.Value)
	case len(t.draft) >= maxNames:
		return acme.NewDetailedError(acme.ErrorRejectedIdentifierType, "an order has at most %d names", maxNames)
	case len(az.Challenges) != 1:
		return acme.NewDetailedError(acme.ErrorRejectedIdentifierType, "%s %q cannot be validated here", az.Identifier.Type, az.Identifier.Value)
	}
	az.ID = fmt.Sprintf("%s-%d", t.order, len(t.draft))
	ch := az.Challenges[0]
	t.draft = append(t.draft, authorizationRecord{
		Identifier: az.Identifier, Status: az.Status, Token: az.Token,
		Challenges: []challengeRecord{{Type: ch.Type, Status: ch.Status, Token: ch.Token}},
	})
	return nil
}

// CreateOrder writes the order with all that belongs to it.
func (t *tables) CreateOrder(ctx context.Context, o *acme.Order) error {
	now := time.Now().UTC().Truncate(time.Second)
	recent, err := t.ledger.List(ctx, accountsOrders, []byte(o.AccountID+"/"))
	if err != nil {
		return err
	}
	if len(recent) >= maxOrders {
		return acme.NewDetailedError(acme.ErrorRateLimitedType, "the account has made %d orders in the last %v, more than one account may", len(recent), orderLife)
	}
	o.ID, o.ExpiresAt = t.order, now.Add(orderLife)
	record := orderRecord{
		Format: orderFormat, Account: o.AccountID, Provisioner: o.ProvisionerID, Status: o.Status, Identifiers: o.Identifiers,
		NotBefore: o.NotBefore, NotAfter: o.NotAfter, Expires: o.ExpiresAt, Authorizations: t.draft,
	}
	op := record.op(o.ID, nil)
	_, err = t.ledger.Commit(ctx, []pki.Op{op, {
		Bucket: accountsOrders, Key: []byte(o.AccountID + "/" + o.ID), Value: []byte{}, Expires: o.ExpiresAt,
	}})
	return err
}

func (r orderRecord) op(id string, old []byte) pki.Op {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("ca: encode an order: %v", err)) // it has no fields that JSON lacks
	}
	op := pki.Op{Bucket: ordersBucket, Key: []byte(id), Value: raw, Expires: r.Expires.Add(orderKept), If: pki.Equals, Old: old}
	if old == nil {
		op.If = pki.Absent
	}
	return op
}

func (t *tables) read(ctx context.Context, id string) (orderRecord, []byte, error) {
	var r orderRecord
	raw, err := t.ledger.Get(ctx, ordersBucket, []byte(id))
	if err != nil {
		return r, nil, err
	}
	if raw == nil {
		return r, nil, malformed("there is no order %q, or it ended more than a day ago", id)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, nil, fmt.Errorf("decode order %s: %w", id, err)
	}
	if r.Format != orderFormat {
		return r, nil, fmt.Errorf("%w: order %s has format %d, this version reads %d", pki.ErrFormat, id, r.Format, orderFormat)
	}
	return r, raw, nil
}

// change changes an order by compare-and-swap, as often as others are faster, each
// of which is a step of the order.
func (t *tables) change(ctx context.Context, id string, change func(*orderRecord) error) error {
	for {
		r, old, err := t.read(ctx, id)
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		op := r.op(id, old)
		if bytes.Equal(op.Value, old) {
			return nil
		}
		if done, err := t.ledger.Commit(ctx, []pki.Op{op}); err != nil || done {
			return err
		}
	}
}

// GetOrder returns an order.
func (t *tables) GetOrder(ctx context.Context, id string) (*acme.Order, error) {
	r, _, err := t.read(ctx, id)
	if err != nil {
		return nil, err
	}
	o := &acme.Order{
		ID: id, AccountID: r.Account, ProvisionerID: r.Provisioner, Status: r.Status, Identifiers: r.Identifiers,
		NotBefore: r.NotBefore, NotAfter: r.NotAfter, ExpiresAt: r.Expires, CertificateID: r.Certificate, Error: r.Error,
	}
	for n := range r.Authorizations {
		o.AuthorizationIDs = append(o.AuthorizationIDs, fmt.Sprintf("%s-%d", id, n))
	}
	return o, nil
}

// UpdateOrder takes over what an order's steps change.
func (t *tables) UpdateOrder(ctx context.Context, o *acme.Order) error {
	return t.change(ctx, o.ID, func(r *orderRecord) error {
		if r.Status == acme.StatusValid && r.Certificate != o.CertificateID {
			return acme.NewDetailedError(acme.ErrorOrderNotReadyType, "order %s was finalized by another request", o.ID)
		}
		r.Status, r.Error, r.Certificate = o.Status, o.Error, o.CertificateID
		return nil
	})
}

// GetOrdersByAccountID returns an account's orders that wait for it.
func (t *tables) GetOrdersByAccountID(ctx context.Context, account string) ([]string, error) {
	items, err := t.ledger.List(ctx, accountsOrders, []byte(account+"/"))
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, item := range items {
		id := strings.TrimPrefix(string(item.Key), account+"/")
		if r, _, err := t.read(ctx, id); err == nil && r.Status == acme.StatusPending && time.Now().Before(r.Expires) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// part takes the id of an authorization, or of a challenge with depth 2, apart.
func part(id string, depth int) (order string, n int, err error) {
	fields := strings.Split(id, "-")
	if len(fields) != depth+1 {
		return "", 0, malformed("there is no %q", id)
	}
	if n, err = strconv.Atoi(fields[1]); err != nil || n < 0 {
		return "", 0, malformed("there is no %q", id)
	}
	return fields[0], n, nil
}

func (r *orderRecord) authorization(id string, n int) (*authorizationRecord, error) {
	if n >= len(r.Authorizations) {
		return nil, malformed("there is no %q", id)
	}
	return &r.Authorizations[n], nil
}
