// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"container/list"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Tokens are the simple tokens. A login is agreed upon, so that all members
// know its token, but each keeps it in its own memory and by its own clock:
// whoever starts anew knows only those whose entries it applies again, whoever
// takes a checkpoint none, and clients log in again. A token lasts until it was
// not shown for its time.
//
//	token = 26 random letters "." index of the entry that made it
//
// The log has the letters' digest only: who reads a log learns no token.
type Tokens struct {
	ttl atomic.Int64 // nanoseconds

	mu    sync.Mutex
	known map[Digest]*token     // under mu
	users map[string]*list.List // the tokens of each user, the one shown last at the back; under mu
}

// maxTokens is how many tokens a user has. One more ends the one that was not
// shown for longest: a password that is remembered costs no hash, so whoever
// knows it could fill the memory.
const maxTokens = 100_000

// Digest stands for a token's random letters.
type Digest [sha256.Size]byte

type token struct {
	digest Digest
	user   string
	index  uint64
	shown  time.Time     // zero: nobody has looked at the clock yet
	place  *list.Element // among its user's
}

// NewTokens returns no tokens yet; each will last for ttl.
func NewTokens(ttl time.Duration) *Tokens {
	t := &Tokens{known: make(map[Digest]*token), users: make(map[string]*list.List)}
	t.SetTTL(ttl)
	return t
}

// SetTTL makes each token last for ttl since it was shown last, those too that
// there are.
func (t *Tokens) SetTTL(ttl time.Duration) { t.ttl.Store(int64(ttl)) }

func (t *Tokens) life() time.Duration { return time.Duration(t.ttl.Load()) }

// NewToken returns the secret letters of a token and what stands for them in
// the log.
func NewToken() (letters string, d Digest) {
	letters = rand.Text()
	return letters, sha256.Sum256([]byte(letters))
}

// TokenText returns the token as the client gets it.
func TokenText(letters string, index uint64) string {
	return letters + "." + strconv.FormatUint(index, 10)
}

// ParseToken undoes TokenText as far as members can.
func ParseToken(text string) (d Digest, index uint64, ok bool) {
	letters, number, cut := strings.Cut(text, ".")
	index, err := strconv.ParseUint(number, 10, 64)
	if !cut || err != nil {
		return Digest{}, 0, false
	}
	return sha256.Sum256([]byte(letters)), index, true
}

// Assign makes a token that was agreed upon. It reads no clock, as it is part
// of an apply: the time starts when somebody else looks at the token.
func (t *Tokens) Assign(d Digest, index uint64, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.users[user]
	if own == nil {
		own = list.New()
		t.users[user] = own
	}
	made := &token{digest: d, user: user, index: index}
	made.place = own.PushBack(made)
	t.known[d] = made
	if own.Len() > maxTokens {
		t.endLocked(own.Front().Value.(*token))
	}
}

func (t *Tokens) endLocked(gone *token) {
	delete(t.known, gone.digest)
	own := t.users[gone.user]
	own.Remove(gone.place)
	if own.Len() == 0 {
		delete(t.users, gone.user)
	}
}

// Forget ends the tokens of a user.
func (t *Tokens) Forget(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.users[user]
	if own == nil {
		return
	}
	for e := own.Front(); e != nil; e = e.Next() {
		delete(t.known, e.Value.(*token).digest)
	}
	delete(t.users, user)
}

// Clear ends all tokens.
func (t *Tokens) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.known)
	clear(t.users)
}

// User returns whose token it is, and gives the token its whole time again.
func (t *Tokens) User(d Digest, index uint64) (name string, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known[d]
	if known == nil || known.index != index || known.over(now, t.life()) {
		return "", false
	}
	known.shown = now
	t.users[known.user].MoveToBack(known.place)
	return known.user, true
}

// over says whether a token's time has passed.
func (t *token) over(now time.Time, ttl time.Duration) bool {
	return !t.shown.IsZero() && now.Sub(t.shown) > ttl
}

// Run forgets tokens whose time has passed, until ctx ends.
func (t *Tokens) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-time.After(min(max(t.life()/10, time.Second), 30*time.Second)):
			t.sweep(now)
		}
	}
}

func (t *Tokens) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, known := range t.known {
		switch {
		case known.shown.IsZero():
			known.shown = now
		case known.over(now, t.life()):
			t.endLocked(known)
		}
	}
}
