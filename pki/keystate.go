// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// What the cluster knows of its keys, without any of them:
//
//	pki/keys  state           -> keyState: which key takes the place of which
//	pki/keys  member/<id>     -> holding: which keys this member has, durably
//
// Which key seals the CA is said by the sealed keys themselves.
const (
	keysBucket   = bucketPrefix + "keys"
	stateKey     = "state"
	holderPrefix = "member/"
	keysFormat   = 1
)

// keyState says where a rotation of the cluster key is, by the ids of the keys.
//
//	nothing ── next is named ── the CA is sealed with it, the old one is previous ── nothing
//	          members fetch it                    members that were away fetch it
type keyState struct {
	Format   int       `json:"format"`
	Next     string    `json:"next,omitempty"`
	Previous string    `json:"previous,omitempty"`
	Exported *exported `json:"exported,omitempty"`
}

type exported struct {
	Key string    `json:"key"`
	At  time.Time `json:"at"`
	By  string    `json:"by,omitempty"` // the member
}

// holding is what a member says of its own keys.
type holding struct {
	Format int      `json:"format"`
	Keys   []string `json:"keys"`
}

func decodeKeyState(raw []byte) (keyState, error) {
	s := keyState{Format: keysFormat}
	if raw == nil {
		return s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("decode the state of the cluster key: %w", err)
	}
	if s.Format != keysFormat {
		return s, fmt.Errorf("%w: the state of the cluster key has format %d, this version reads %d", ErrFormat, s.Format, keysFormat)
	}
	return s, nil
}

func decodeHolding(raw []byte) (holding, error) {
	h := holding{Format: keysFormat}
	if raw == nil {
		return h, nil
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("decode which cluster keys a member has: %w", err)
	}
	return h, nil // a newer one is read as far as it is understood
}

// keyState returns the state and what it was read from.
func (a *Authority) keyState(ctx context.Context) (keyState, []byte, error) {
	raw, err := a.config.Ledger.Get(ctx, keysBucket, []byte(stateKey))
	if err != nil {
		return keyState{}, nil, fmt.Errorf("read the state of the cluster key: %w", err)
	}
	s, err := decodeKeyState(raw)
	return s, raw, err
}

// op replaces what the state was read from.
func (s keyState) op(old []byte) Op {
	op := Op{Bucket: keysBucket, Key: []byte(stateKey), Value: mustJSON(s), If: Equals, Old: old}
	if old == nil {
		op.If = Absent
	}
	return op
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("pki: encode %T: %v", v, err)) // it has no fields that JSON lacks
	}
	return raw
}

// holders returns what each member has said that it has.
func (a *Authority) holders(ctx context.Context) (map[uint64]holding, error) {
	items, err := a.config.Ledger.List(ctx, keysBucket, []byte(holderPrefix))
	if err != nil {
		return nil, fmt.Errorf("read who has the cluster key: %w", err)
	}
	return decodeHolders(items)
}

func decodeHolders(items []Item) (map[uint64]holding, error) {
	out := make(map[uint64]holding)
	for _, item := range items {
		id, err := strconv.ParseUint(string(bytes.TrimPrefix(item.Key, []byte(holderPrefix))), 16, 64)
		if err != nil {
			continue // not ours
		}
		if out[id], err = decodeHolding(item.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// members are those that are in the agreement.
func (a *Authority) members() []uint64 {
	if a.config.Members == nil {
		return []uint64{a.config.MemberID}
	}
	return a.config.Members()
}

// without returns the members that have not said that they have the key.
func without(key string, members []uint64, holders map[uint64]holding) []uint64 {
	var lack []uint64
	for _, m := range members {
		if !slices.Contains(holders[m].Keys, key) {
			lack = append(lack, m)
		}
	}
	return lack
}

// ExportKey returns the cluster key as the text of a cluster.key, and its id. It
// is ErrLocked if this member has none. Whoever has it stored safely says so by
// Exported.
func (a *Authority) ExportKey(ctx context.Context) (text []byte, id string, err error) {
	if err := a.refresh(ctx); err != nil {
		return nil, "", err
	}
	k, err := a.clusterKey()
	if err != nil {
		return nil, "", err
	}
	return keyring{k}.encode(nil), k.ID(), nil
}

// Exported records that the key has been exported.
func (a *Authority) Exported(ctx context.Context, id string) error {
	if now := a.ca().record.sealedWith(); id != now {
		return fmt.Errorf("%w: key %s was exported, but the CA is sealed with %s by now; export again", ErrClusterKey, id, now)
	}
	err := a.changeKeyState(ctx, func(s *keyState) error {
		s.Exported = &exported{Key: id, At: time.Now().UTC().Truncate(time.Second), By: hexID(a.config.MemberID)}
		return nil
	})
	if err == nil {
		a.Audit(ctx, Event{Act: ActKeys, What: "cluster key exported", Detail: "key " + id})
	}
	return err
}

func (a *Authority) changeKeyState(ctx context.Context, change func(*keyState) error, more ...Op) error {
	for range storeAttempts {
		s, raw, err := a.keyState(ctx)
		if err != nil {
			return err
		}
		if err := change(&s); err != nil {
			return err
		}
		op := s.op(raw)
		if bytes.Equal(op.Value, raw) && len(more) == 0 {
			return nil
		}
		done, err := a.config.Ledger.Commit(ctx, append([]Op{op}, more...))
		if err != nil {
			return fmt.Errorf("record the state of the cluster key: %w", err)
		}
		if done {
			return nil
		}
		if len(more) > 0 {
			return errChanged
		}
	}
	return errChanged
}

// KeyStatus is what this member knows of the cluster key.
type KeyStatus struct {
	Key        string   // id of the one that seals the CA
	Locked     error    // why this member issues nothing; nil: it does
	Credential bool     // systemd hands over this member's
	Plain      bool     // and it lies in Dir as well
	Stale      bool     // the credential has an old one, by which the new one is opened
	Exported   bool     // the key has been exported
	Next       string   // it is being given to the members
	Previous   string   // members have yet to get Key
	Waiting    []uint64 // those
}

// KeyStatus tells how the cluster key is, as far as this member has heard.
func (a *Authority) KeyStatus() KeyStatus {
	h, key := a.vault.hold.Load(), a.ca().record.sealedWith()
	status := KeyStatus{Key: key, Locked: a.Locked(), Credential: len(h.credential) > 0, Plain: h.plain}
	if status.Credential {
		_, has := h.credential.byID(key)
		status.Stale = !has
	}
	if a.config.Replica == nil {
		return status
	}
	raw, err := a.config.Replica.Get(keysBucket, []byte(stateKey))
	items, also := a.config.Replica.List(keysBucket, []byte(holderPrefix))
	s, undecoded := decodeKeyState(raw)
	holders, unread := decodeHolders(items)
	if errors.Join(err, also, undecoded, unread) != nil {
		return status // Run says so in the log
	}
	status.Exported = s.Exported != nil && s.Exported.Key == key
	status.Next, status.Previous = s.Next, s.Previous
	switch {
	case s.Next != "":
		status.Waiting = without(s.Next, a.members(), holders)
	case s.Previous != "":
		status.Waiting = without(key, a.members(), holders)
	}
	return status
}
