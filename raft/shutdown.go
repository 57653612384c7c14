// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// stopPatience is how long hraft and the goroutines around it may take to end
// once nothing is under way. Only a machine or a disk that hangs takes longer.
const stopPatience = 5 * time.Second

// Shutdown stops the member in order. Leadership is handed to another member,
// if there is one, with the proposals that wait. New requests get ErrStopped; proposals
// that were taken are carried out and answered as long as ctx allows, and what
// is left then gets ErrUnknown; then hraft stops, then the files are closed.
// When it returns nil the machine is called no more. A second call waits for
// the first.
func (n *Node) Shutdown(ctx context.Context) error {
	n.shutdown.Do(func() {
		n.stopErr = n.stop(ctx)
		close(n.stopped)
	})
	<-n.stopped
	return n.stopErr
}

func (n *Node) stop(ctx context.Context) error {
	if n.config.Network != nil {
		n.depart(ctx)
	}
	// Nothing new, and those who lead know first: what they still propose
	// would only make the rest wait.
	n.halt()
	n.line.close(ErrStopped)
	select {
	case <-n.line.drained:
	case <-ctx.Done():
	}
	// hraft answers no more once it is told to stop, so whoever is left is
	// answered first.
	n.line.abandon(n.stopReason())
	if err := within(stopPatience, func() error { n.questions.Wait(); return nil }); err != nil {
		return fmt.Errorf("raft: stop: %w", err)
	}
	// What hraft still tells the others would only keep it from ending.
	if err := n.closeNetwork(); err != nil {
		n.config.Logger.Warn("raft: network not closed", "err", err)
	}
	gone := n.visitors.close()
	if err := within(stopPatience, func() error { <-gone; return nil }); err != nil {
		return fmt.Errorf("raft: stop: %w", err)
	}
	if err := within(stopPatience, func() error { return n.raft.Shutdown().Error() }); err != nil {
		return fmt.Errorf("raft: stop: %w", err)
	}
	if err := n.installation.drop(); err != nil {
		n.config.Logger.Warn("raft: what was prepared is left", "err", err)
	}
	close(n.finished)
	if err := within(stopPatience, func() error { n.work.Wait(); return nil }); err != nil {
		return fmt.Errorf("raft: stop: %w", err)
	}
	n.metrics.unregister()
	if err := n.closeFiles(); err != nil {
		return fmt.Errorf("raft: stop: %w", err)
	}
	return nil
}

// depart leaves the cluster in order: nothing new is taken, leadership goes to
// another member, and what was taken and not carried out follows it there. Other
// members whose proposals were carried out get to know.
func (n *Node) depart(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 4*n.config.ElectionTimeout)
	defer cancel()
	empty := n.callers.close()
	n.retire(ctx)
	for _, left := range []<-chan struct{}{empty, n.guests.close()} {
		select {
		case <-left:
		case <-n.stopping:
		case <-ctx.Done():
		}
	}
}

// closeFiles closes what Open opened, newest first.
func (n *Node) closeFiles() error {
	var errs []error
	for _, c := range slices.Backward(n.closers) {
		errs = append(errs, c.Close())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// within waits for do, but not for ever: a disk that hangs holds hraft's main
// loop, and the process must be able to end. What hangs is left behind.
func within(patience time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("still busy after %s", patience)
	}
}
