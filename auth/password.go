// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// MinCost, MaxCost and DefaultCost are those of bcrypt; each step doubles the
// time that one hash takes.
const (
	MinCost     = 4
	MaxCost     = 31
	DefaultCost = 10
)

// Passwords makes and checks the hashes of passwords. A hash takes some 50 ms
// of a core on purpose, so at most half of the cores are given to hashing at a
// time; who comes later waits, and what else the member does goes on. Where
// maxWaiting wait already, whoever else would have to is refused. A password
// that was right is remembered, as a keyed digest in memory beside the hash that
// it was right for, so that many clients of one user cost one hash; another hash
// makes it forgotten. All methods may be called concurrently.
type Passwords struct {
	cost  atomic.Int64
	slots chan struct{}
	key   []byte // of the digests; it lasts as long as the process

	waiting atomic.Int64 // for a slot

	mu    sync.Mutex
	right map[string]credential // by user; under mu
}

// maxWaiting is how many may wait. With one slot the last of them waits for
// some 50 s, longer than clients do.
const maxWaiting = 1000

type credential struct{ hash, digest []byte }

// NewPasswords returns one that makes hashes of a cost.
func NewPasswords(cost int) *Passwords {
	p := &Passwords{
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		key:   make([]byte, sha256.Size),
		right: make(map[string]credential),
	}
	_, _ = rand.Read(p.key) // never fails
	p.SetCost(cost)
	return p
}

// SetCost makes hashes cost that much from now on. Those that exist keep theirs.
func (p *Passwords) SetCost(cost int) { p.cost.Store(int64(cost)) }

// Hash returns a new hash of a password. It fails with ErrTooLong,
// ErrBusy or ctx's error.
func (p *Passwords) Hash(ctx context.Context, password string) ([]byte, error) {
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer p.release()
	return bcrypt.GenerateFromPassword([]byte(password), int(p.cost.Load()))
}

// Check says whether a password is that of a user's hash. It fails with
// ErrFailed if it is not, with ErrBusy, or with ctx's error.
func (p *Passwords) Check(ctx context.Context, user string, hash []byte, password string) error {
	digest := p.digest(user, hash, password)
	if p.remembered(user, hash, digest) {
		return nil
	}
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer p.release()
	if p.remembered(user, hash, digest) { // another client of the user came first
		return nil
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return ErrFailed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.right[user] = credential{hash, digest}
	return nil
}

func (p *Passwords) remembered(user string, hash, digest []byte) bool {
	p.mu.Lock()
	known, is := p.right[user]
	p.mu.Unlock()
	return is && bytes.Equal(known.hash, hash) && hmac.Equal(known.digest, digest)
}

func (p *Passwords) digest(user string, hash []byte, password string) []byte {
	h := hmac.New(sha256.New, p.key)
	h.Write(appendText(appendText(nil, []byte(user)), hash))
	h.Write([]byte(password))
	return h.Sum(nil)
}

func (p *Passwords) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}: // at once, unless others wait
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Passwords) release() { <-p.slots }
