// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	tokensBucket = bucketPrefix + "tokens" // by the hash of the secret, in hex
	tokenFormat  = 1

	// loginTokenFormat is that of a client's token: a version that knows only
	// machines' must not take one for such.
	loginTokenFormat = 2

	// DefaultTokenTTL is how long a token can be used when nobody says otherwise.
	DefaultTokenTTL = time.Hour
	maxTokenTTL     = 30 * 24 * time.Hour
	maxTokenUses    = 100 // every use is kept in the token's record

	// tokenGrace is how long the record of a token outlives it, so that whoever
	// comes too late is told that, and not that the token is unknown.
	tokenGrace = 24 * time.Hour
)

// Role is what a machine joins as.
type Role string

// The roles.
const (
	RoleMember  Role = "member"  // a learner until it has caught up, then a voter
	RoleLearner Role = "learner" // a learner for good
)

// Invitation is what a token is good for.
type Invitation struct {
	Role   Role          // "": RoleMember
	TTL    time.Duration // 0: DefaultTokenTTL
	Uses   int           // 0: 1
	Member uint64        // the id that was reserved for the machine; 0: any
	By     string        // who invites, for the list

	// Client is the user for whom the token is: it is redeemed by Login for a
	// certificate of that name, which lives for CertTTL (0: Config.ClientTTL), and
	// no machine joins with it. Empty: a machine joins.
	Client  string
	CertTTL time.Duration
}

// TokenInfo is what the cluster knows of a token.
type TokenInfo struct {
	ID      string // hash of the secret, in hex
	Role    Role   // of a machine; "" if the token is a client's
	Client  string // "": a machine joins
	Member  uint64 // 0: any
	By      string
	Created time.Time
	Expires time.Time
	Revoked time.Time     // zero: not
	Left    int           // uses
	Joined  []uint64      // the members that it let in
	CertTTL time.Duration // of the client's certificate; 0: Config.ClientTTL
}

// tokenRecord is a token as it lies in the ledger, in JSON.
type tokenRecord struct {
	Format  int       `json:"format"`
	Role    Role      `json:"role,omitempty"`
	Client  string    `json:"client,omitempty"`
	Life    int64     `json:"life,omitempty"` // of the client's certificate, in seconds
	Member  uint64    `json:"member,omitempty"`
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked time.Time `json:"revoked,omitzero"`
	Left    int       `json:"left"`
	Used    []use     `json:"used,omitempty"`
}

// use is one machine that was let in. A machine that asks again with the same
// key is the same one, whose answer was lost.
type use struct {
	Key    string `json:"key"` // hash of the public key, in hex
	Member uint64 `json:"member"`
}

// Invite makes a token and records it. The error is ErrInvitation if the
// invitation makes no sense; any other error is the ledger's.
func (a *Authority) Invite(ctx context.Context, i Invitation) (Token, TokenInfo, error) {
	record, err := newTokenRecord(i, time.Now())
	if err != nil {
		return Token{}, TokenInfo{}, err
	}
	if err := a.Locked(); err != nil {
		return Token{}, TokenInfo{}, err // the machine would be let in here
	}
	t := newToken(a.ca().root)
	done, err := a.config.Ledger.Commit(ctx, []Op{record.op(t.ID(), nil)})
	if err != nil {
		return Token{}, TokenInfo{}, fmt.Errorf("record the token: %w", err)
	}
	if !done {
		return Token{}, TokenInfo{}, fmt.Errorf("record the token: %w", errChanged) // two equal secrets of 256 bits
	}
	a.Audit(ctx, Event{
		Act: ActInvite, What: "token made", By: record.By, Subject: record.Member, Token: t.ID()[:16], NotAfter: record.Expires,
		Detail: fmt.Sprintf("for %s, %d uses", record.purpose(), record.Left),
	})
	return t, record.info(t.ID()), nil
}

func newTokenRecord(i Invitation, now time.Time) (tokenRecord, error) {
	if i.Role == "" && i.Client == "" {
		i.Role = RoleMember
	}
	if i.TTL == 0 {
		i.TTL = DefaultTokenTTL
	}
	if i.Uses == 0 {
		i.Uses = 1
	}
	r := tokenRecord{
		Format: tokenFormat, Role: i.Role, Member: i.Member, By: i.By,
		Created: now.UTC(), Expires: now.Add(i.TTL).UTC(), Left: i.Uses,
	}
	if i.Client != "" || i.CertTTL != 0 {
		r.Format, r.Client, r.Life = loginTokenFormat, i.Client, int64(i.CertTTL/time.Second)
		if err := checkClient(i); err != nil {
			return tokenRecord{}, err
		}
	}
	switch {
	case i.Client == "" && i.Role != RoleMember && i.Role != RoleLearner:
		return tokenRecord{}, fmt.Errorf("%w: role %q is none of member, learner", ErrInvitation, i.Role)
	case i.TTL < time.Second || i.TTL > maxTokenTTL:
		return tokenRecord{}, fmt.Errorf("%w: a life of %v is not between %v and %v", ErrInvitation, i.TTL, time.Second, maxTokenTTL)
	case i.Uses < 0 || i.Uses > maxTokenUses:
		return tokenRecord{}, fmt.Errorf("%w: %d uses are not between 1 and %d", ErrInvitation, i.Uses, maxTokenUses)
	case i.Member != 0 && i.Uses != 1:
		return tokenRecord{}, fmt.Errorf("%w: one member id cannot be used by %d machines", ErrInvitation, i.Uses)
	}
	return r, nil
}

// op replaces old by the record; there must be none if old is nil.
func (r tokenRecord) op(id string, old []byte) Op {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("pki: encode a token's record: %v", err)) // it has no fields that JSON lacks
	}
	op := Op{Bucket: tokensBucket, Key: []byte(id), Value: raw, Expires: r.kept(), If: Equals, Old: old}
	if old == nil {
		op.If = Absent
	}
	return op
}

// kept is until when the record is kept: a day longer than the token is good.
func (r tokenRecord) kept() time.Time {
	end := r.Expires
	if r.Revoked.After(end) {
		end = r.Revoked
	}
	return end.Add(tokenGrace)
}

func decodeToken(raw []byte) (tokenRecord, error) {
	var r tokenRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("decode a token's record: %w", err)
	}
	if r.Format != tokenFormat && (r.Format != loginTokenFormat || r.Client == "") {
		return r, fmt.Errorf("%w: a token's record has format %d, this version reads %d and %d", ErrFormat, r.Format, tokenFormat, loginTokenFormat)
	}
	return r, nil
}

func (r tokenRecord) info(id string) TokenInfo {
	i := TokenInfo{
		ID: id, Role: r.Role, Client: r.Client, Member: r.Member, By: r.By,
		Created: r.Created, Expires: r.Expires, Revoked: r.Revoked, Left: r.Left,
		CertTTL: time.Duration(r.Life) * time.Second,
	}
	if r.Client != "" {
		return i
	}
	for _, u := range r.Used {
		i.Joined = append(i.Joined, u.Member)
	}
	return i
}

// Tokens returns what is known of the tokens, those included that ended less
// than a day ago. No secret is in it: nobody has them but the invited.
func (a *Authority) Tokens(ctx context.Context) ([]TokenInfo, error) {
	return a.tokens(ctx, "")
}

func (a *Authority) tokens(ctx context.Context, prefix string) ([]TokenInfo, error) {
	items, err := a.config.Ledger.List(ctx, tokensBucket, []byte(prefix))
	if err != nil {
		return nil, fmt.Errorf("list the tokens: %w", err)
	}
	out := make([]TokenInfo, len(items))
	for i, item := range items {
		r, err := decodeToken(item.Value)
		if err != nil {
			return nil, err
		}
		out[i] = r.info(string(item.Key))
	}
	return out, nil
}

// RevokeToken ends the token whose id begins with prefix and returns it. The
// whole token is taken too. The error is ErrTokenUnknown if there is none, and
// ErrTokenAmbiguous if there are several.
func (a *Authority) RevokeToken(ctx context.Context, prefix string) (TokenInfo, error) {
	if t, err := ParseToken(prefix); err == nil {
		prefix = t.ID()
	}
	id, err := a.findToken(ctx, strings.ToLower(prefix))
	if err != nil {
		return TokenInfo{}, err
	}
	r, err := a.changeToken(ctx, id, func(r *tokenRecord) error {
		if r.Revoked.IsZero() {
			r.Revoked = time.Now().UTC()
		}
		return nil
	})
	if err != nil {
		return TokenInfo{}, err
	}
	a.Audit(ctx, Event{Act: ActRevoke, What: "token revoked", Token: id[:16]})
	return r.info(id), nil
}

func (a *Authority) findToken(ctx context.Context, prefix string) (id string, err error) {
	if prefix == "" {
		return "", fmt.Errorf("%w: no id was given", ErrTokenUnknown)
	}
	found, err := a.tokens(ctx, prefix)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fmt.Errorf("%w: no id begins with %q", ErrTokenUnknown, quoteID(prefix))
	case len(found) > 1:
		return "", fmt.Errorf("%w: %d ids begin with %q", ErrTokenAmbiguous, len(found), quoteID(prefix))
	}
	return found[0].ID, nil
}

// quoteID keeps what may be a mistyped token out of messages.
func quoteID(text string) string {
	if _, err := hex.DecodeString(text + strings.Repeat("0", len(text)%2)); err != nil {
		return "…"
	}
	return text
}
