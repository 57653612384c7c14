// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// Prepared is a state that the machine can become.
type Prepared interface {
	// Index is the entry that the machine will have applied.
	Index() uint64
	// Install makes the machine that state. A crash leaves the one or the
	// other; it is durable when Install returns nil. Nothing is applied
	// meanwhile. After an error the member stops.
	Install() error
	// Close removes what was not installed.
	io.Closer
}

// shelfLife is how long a checkpoint waits for the word to install it.
const shelfLife = time.Minute

// installation is a state that this member has been given. While there is one,
// labels stay where they are.
//
// What is durable of it is the label that the member will have, in a file of
// its own: as the intent, from before the machine is changed until the label is
// there; then as the reason why the log is empty, until it has an entry again.
// So an open finds out how far it had got (settle).
type installation struct {
	intent, reason string // paths
	put            func(path string, data []byte) error
	remove         func(path string) error
	rename         func(from, to string) error
	pending        bool // there is a reason for an empty log

	mu       sync.Mutex
	prepared Prepared            // nil: none
	meta     *hraft.SnapshotMeta // hraft has said to install it
	expiry   *time.Timer         // until then
	release  func()              // lets labels move again
}

var errNotHere = errors.New("raft: no checkpoint has come for this installation")

// shelve keeps a prepared state until hraft says to install it.
func (i *installation) shelve(p Prepared, release func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.prepared, i.release, i.meta = p, release, nil
	i.expiry = time.AfterFunc(shelfLife, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.prepared == p && i.meta == nil {
			_ = i.dropLocked() // the next one takes its place
		}
	})
}

// intend makes durable that the member is to become what is on the shelf.
func (i *installation) intend(meta *hraft.SnapshotMeta) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.prepared == nil || i.prepared.Index() != meta.Index {
		return errNotHere
	}
	if err := i.put(i.intent, encodeLabel(meta)); err != nil {
		return fmt.Errorf("write %s: %w", i.intent, err)
	}
	i.expiry.Stop()
	i.meta = meta
	return nil
}

// intended returns what is to be installed, nil if nothing is.
func (i *installation) intended() (*hraft.SnapshotMeta, Prepared) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.meta == nil {
		return nil, nil
	}
	return i.meta, i.prepared
}

// drop lets go of what is on the shelf.
func (i *installation) drop() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dropLocked()
}

func (i *installation) dropLocked() error {
	if i.prepared == nil {
		return nil
	}
	i.expiry.Stop()
	err := i.prepared.Close()
	i.release()
	i.prepared, i.meta = nil, nil
	return err
}

// forget takes the intent back.
func (i *installation) forget() error {
	if err := i.remove(i.intent); err != nil {
		return fmt.Errorf("remove %s: %w", i.intent, err)
	}
	return nil
}

// carriedOut notes that the machine and the label are as intended.
func (i *installation) carriedOut() error {
	if err := i.rename(i.intent, i.reason); err != nil {
		return fmt.Errorf("rename %s: %w", i.intent, err)
	}
	return nil
}

// begun is told that the log has an entry again.
func (i *installation) begun() error {
	if err := i.remove(i.reason); err != nil {
		return fmt.Errorf("remove %s: %w", i.reason, err)
	}
	return nil
}

// removeDurably removes a file that may be there.
func removeDurably(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// renameDurably renames a file within its directory.
func renameDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// Receive prepares to become the state that another member has sent. The
// network has authenticated it, calls Receive for each [Network].Send, and gives
// its error to the sender.
func (n *Node) Receive(_ context.Context, from uint64, state io.Reader) error {
	if !n.visitors.enter() {
		return n.stopReason()
	}
	defer n.visitors.leave()
	select {
	case n.arriving <- struct{}{}:
		defer func() { <-n.arriving }()
	default:
		return fmt.Errorf("raft: %s is taking a checkpoint already", n.id)
	}
	if meta, _ := n.installation.intended(); meta != nil {
		return fmt.Errorf("raft: %s is installing a checkpoint already", n.id)
	}
	if err := n.installation.drop(); err != nil {
		return fmt.Errorf("raft: clear what was prepared: %w", err)
	}
	began := time.Now()
	p, err := n.machine.Prepare(state)
	if err != nil {
		return fmt.Errorf("raft: prepare a checkpoint: %w", err)
	}
	select {
	case n.labeling <- struct{}{}:
		n.installation.shelve(p, func() { <-n.labeling })
		n.config.Logger.Info("checkpoint came", "member", serverID(from), "index", p.Index(), "took", time.Since(began).Round(time.Millisecond))
		return nil
	case <-n.stopping:
		return errors.Join(n.stopReason(), p.Close())
	}
}

// install makes the machine what hraft has said to. The log is cleared by
// hraft next.
func (n *Node) install() (*hraft.SnapshotMeta, error) {
	meta, prepared := n.installation.intended()
	if meta == nil {
		return nil, errNotHere
	}
	if held := n.machine.AppliedIndex(); held > meta.Index {
		err := fmt.Errorf("raft: install a checkpoint at entry %d: the state is at entry %d already", meta.Index, held)
		if failed := n.installation.forget(); failed != nil {
			n.fail(failed) // it would be taken for one that was carried out
		}
		return nil, errors.Join(err, n.installation.drop())
	}
	err := n.disk.settle() // what this member took as a leader is not written behind hraft's back
	if err == nil {
		err = prepared.Install()
	}
	if err != nil {
		err = fmt.Errorf("install a checkpoint at entry %d: %w", meta.Index, err)
	} else {
		err = n.labels.write(meta)
	}
	if err == nil {
		err = n.installation.carriedOut()
	}
	if err != nil {
		n.fail(err)
		return nil, err
	}
	n.disk.begun = false // hraft's loop, which appends, waits for us
	if err := n.installation.drop(); err != nil {
		n.config.Logger.Warn("raft: what a checkpoint was made of is left", "err", err)
	}
	n.metrics.installed.Inc()
	n.config.Logger.Info("checkpoint installed", "index", meta.Index, "term", meta.Term)
	return meta, nil
}

// settle finishes, at start, what an installation left: either it had changed
// the machine, and the label and the log follow, or it had not.
func (i *installation) settle(log *disk, labels *labels, held uint64) error {
	first, err := log.FirstIndex()
	if err != nil {
		return fmt.Errorf("read log %s: %w", log.files.path, err)
	}
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("read log %s: %w", log.files.path, err)
	}
	intended, err := readLabel(i.intent)
	if err != nil {
		return err
	}
	switch {
	case intended == nil:
	case held < intended.Index || last > intended.Index: // it was not begun; or it is an old one, and the log goes on
		err = i.forget()
	default:
		if err = labels.raise(intended); err == nil {
			err = i.carriedOut()
		}
	}
	if err != nil {
		return err
	}
	reason, err := readLabel(i.reason)
	switch {
	case err != nil || reason == nil:
		return err
	case last > reason.Index: // the log goes on behind it
		return i.begun()
	}
	i.pending = true
	if last == 0 {
		return nil
	}
	return log.DeleteRange(first, last)
}
