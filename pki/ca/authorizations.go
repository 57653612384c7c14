// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"errors"

	"github.com/smallstep/certificates/acme"
)

// GetAuthorization returns an authorization with its challenges.
func (t *tables) GetAuthorization(ctx context.Context, id string) (*acme.Authorization, error) {
	order, n, err := part(id, 1)
	if err != nil {
		return nil, err
	}
	r, _, err := t.read(ctx, order)
	if err != nil {
		return nil, err
	}
	return r.toAuthorization(id, n)
}

func (r *orderRecord) toAuthorization(id string, n int) (*acme.Authorization, error) {
	a, err := r.authorization(id, n)
	if err != nil {
		return nil, err
	}
	return &acme.Authorization{
		ID: id, AccountID: r.Account, Identifier: a.Identifier, Status: a.Status, ExpiresAt: r.Expires,
		Token: a.Token, Fingerprint: a.Fingerprint, Error: a.Error,
		Challenges: []*acme.Challenge{r.toChallenge(id+"-0", a)},
	}, nil
}

func (r *orderRecord) toChallenge(id string, a *authorizationRecord) *acme.Challenge {
	c := a.Challenges[0]
	return &acme.Challenge{
		ID: id, AccountID: r.Account, Type: c.Type, Status: c.Status, Token: c.Token,
		Value: a.Identifier.Value, ValidatedAt: c.Validated, Error: c.Error,
	}
}

// UpdateAuthorization takes over what an authorization's steps change.
func (t *tables) UpdateAuthorization(ctx context.Context, az *acme.Authorization) error {
	order, n, err := part(az.ID, 1)
	if err != nil {
		return err
	}
	return t.change(ctx, order, func(r *orderRecord) error {
		a, err := r.authorization(az.ID, n)
		if err != nil {
			return err
		}
		a.Status, a.Fingerprint, a.Error = az.Status, az.Fingerprint, az.Error
		return nil
	})
}

// GetAuthorizationsByAccountID returns those of the orders that wait.
func (t *tables) GetAuthorizationsByAccountID(ctx context.Context, account string) ([]*acme.Authorization, error) {
	orders, err := t.GetOrdersByAccountID(ctx, account)
	if err != nil {
		return nil, err
	}
	var out []*acme.Authorization
	for _, id := range orders {
		o, err := t.GetOrder(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, az := range o.AuthorizationIDs {
			a, err := t.GetAuthorization(ctx, az)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// GetChallenge returns a challenge, if it is of the authorization.
func (t *tables) GetChallenge(ctx context.Context, id, authorization string) (*acme.Challenge, error) {
	order, n, err := part(id, 2)
	if err != nil {
		return nil, err
	}
	if id != authorization+"-0" {
		return nil, malformed("authorization %q has no challenge %q", authorization, id)
	}
	r, _, err := t.read(ctx, order)
	if err != nil {
		return nil, err
	}
	a, err := r.authorization(id, n)
	if err != nil {
		return nil, err
	}
	return r.toChallenge(id, a), nil
}

// UpdateChallenge takes over what a validation found. One that succeeded stays so:
// another member may have tried at the same time.
func (t *tables) UpdateChallenge(ctx context.Context, ch *acme.Challenge) error {
	order, n, err := part(ch.ID, 2)
	if err != nil {
		return err
	}
	return t.change(ctx, order, func(r *orderRecord) error {
		a, err := r.authorization(ch.ID, n)
		if err != nil {
			return err
		}
		if c := &a.Challenges[0]; c.Status == acme.StatusPending {
			c.Status, c.Error, c.Validated = ch.Status, ch.Error, ch.ValidatedAt
		}
		return nil
	})
}

// noBindings are smallstep's external account keys, of which there are none: its
// handlers ask for them only where a provisioner requires them.
type noBindings struct{}

var errNoBindings = errors.New("ca: accounts are not bound to others here")

func (noBindings) CreateExternalAccountKey(context.Context, string, string) (*acme.ExternalAccountKey, error) {
	return nil, errNoBindings
}

func (noBindings) GetExternalAccountKey(context.Context, string, string) (*acme.ExternalAccountKey, error) {
	return nil, errNoBindings
}

func (noBindings) GetExternalAccountKeys(context.Context, string, string, int) ([]*acme.ExternalAccountKey, string, error) {
	return nil, "", errNoBindings
}

func (noBindings) GetExternalAccountKeyByReference(context.Context, string, string) (*acme.ExternalAccountKey, error) {
	return nil, errNoBindings
}

func (noBindings) GetExternalAccountKeyByAccountID(context.Context, string, string) (*acme.ExternalAccountKey, error) {
	return nil, errNoBindings
}

func (noBindings) DeleteExternalAccountKey(context.Context, string, string) error {
	return errNoBindings
}

func (noBindings) UpdateExternalAccountKey(context.Context, string, *acme.ExternalAccountKey) error {
	return errNoBindings
}
