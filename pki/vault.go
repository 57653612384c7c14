// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// lockFile is in Dir while an administrator wants the CA locked here.
const lockFile = "ca.locked"

// vault is where a member has its cluster keys. What is in it can be used at
// once; who changes it changes the disk first. It is safe for concurrent use.
type vault struct {
	config Config

	changing sync.Mutex           // held by whoever changes the disk
	hold     atomic.Pointer[hold] // never nil; stored under changing
}

// hold is what a vault has: keys, or else why there are none. It never changes.
type hold struct {
	held
	shut bool  // by an administrator
	why  error // there are no keys; nil if there are
}

// openVault takes up the keys that there are. It is no fault if there are none.
func openVault(c Config) (*vault, error) {
	v := &vault{config: c}
	_, err := os.Stat(v.lockPath())
	if err == nil {
		v.hold.Store(shut())
		return v, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	v.hold.Store(v.look())
	return v, nil
}

func (v *vault) lockPath() string { return filepath.Join(v.config.Dir, lockFile) }

func shut() *hold {
	return &hold{shut: true, why: fmt.Errorf("%w: an administrator has locked it (cleatctl ca lock)", ErrLocked)}
}

// look reads what lies on the disk.
func (v *vault) look() *hold {
	h, err := v.config.readKeys()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &hold{why: fmt.Errorf("%w: %s does not exist", ErrClusterKey, v.config.keyPath())}
	case err != nil:
		return &hold{why: err}
	}
	return &hold{held: h}
}

// ring returns the keys, nil if there are none.
func (v *vault) ring() keyring { return v.hold.Load().ring }

// ensure returns the key for a CA that is about to be made, which it makes if
// there is none. A key that is there is never replaced: it may already be in use.
func (v *vault) ensure() (clusterKey, error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	h := v.hold.Load()
	if h.shut {
		return clusterKey{}, h.why
	}
	h = v.look()
	if h.why == nil {
		v.hold.Store(h)
		return h.ring[0], nil
	}
	if _, err := os.Stat(v.config.keyPath()); !errors.Is(err, fs.ErrNotExist) || v.config.Credential != "" {
		return clusterKey{}, h.why
	}
	k, err := randomClusterKey()
	if err != nil {
		return k, err
	}
	return k, v.keepLocked(keyring{k}, nil)
}

// keepLocked makes the ring durable, then usable. The caller holds changing.
func (v *vault) keepLocked(r, credential keyring) error {
	if err := v.config.writeKeys(r, credential); err != nil {
		return err
	}
	v.hold.Store(&hold{held: held{ring: r, credential: credential}})
	return nil
}

// add takes up keys, which are durable when it returns. It is refused while the
// vault is shut.
func (v *vault) add(keys ...clusterKey) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	h := v.hold.Load()
	if h.why != nil {
		return h.why
	}
	return v.keepLocked(h.ring.with(keys...), h.credential)
}

// drop forgets all keys but those that are named, of which it holds one. What
// systemd hands over stays.
func (v *vault) drop(keep ...string) (dropped int, err error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	h := v.hold.Load()
	left := h.ring.only(keep...)
	if h.why != nil || len(left) == 0 {
		return 0, nil
	}
	left = left.with(h.credential...)
	if dropped = len(h.ring) - len(left); dropped == 0 {
		return 0, nil
	}
	return dropped, v.keepLocked(left, h.credential)
}

// shut forgets the keys until open is called, in another life of this process
// too, and removes them from Dir if that is wanted.
func (v *vault) shut(remove bool) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := writeFile(v.lockPath(), nil); err != nil {
		return err
	}
	v.hold.Store(shut())
	if !remove {
		return nil
	}
	if err := os.Remove(v.config.keyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(v.config.Dir)
}

// open takes up keys again: those that are given, which become durable, and
// those on the disk. fits says whether the ring is of use, before anything is
// changed.
func (v *vault) open(given keyring, fits func(keyring) error) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	h := v.look()
	if h.why != nil && len(given) == 0 {
		return h.why
	}
	// What lies on the disk and cannot be read gives way to keys that fit.
	ring := h.ring.with(given...)
	if err := fits(ring); err != nil {
		return err
	}
	if len(given) > 0 {
		if err := v.config.writeKeys(ring, h.credential); err != nil {
			return err
		}
	}
	if err := os.Remove(v.lockPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncDir(v.config.Dir); err != nil {
		return err
	}
	v.hold.Store(&hold{held: held{ring: ring, credential: h.credential, plain: h.plain}})
	return nil
}

// clusterKey returns the key that seals the CA as it is now, for whoever makes
// another key of the CA. The error is why there is none.
func (a *Authority) clusterKey() (clusterKey, error) {
	if err := a.Locked(); err != nil {
		return clusterKey{}, err
	}
	k, has := a.vault.ring().byID(a.ca().record.sealedWith())
	if !has {
		return k, fmt.Errorf("%w: it was locked just now", ErrLocked)
	}
	return k, nil
}
