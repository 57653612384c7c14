// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// sendTo opens two doors; states that come to the second are received there.
func sendTo(t *testing.T, receive func(ctx context.Context, from uint64, state io.Reader) error) (from, to *Door, address string) {
	t.Helper()
	a := newAuthority(t)
	to, address = openedFor(t, &identity{authority: a, t: t, member: 2, life: time.Hour}, Services{Receive: receive})
	from, _ = opened(t, &identity{authority: a, t: t, member: 1, life: time.Hour}, echo)
	return from, to, address
}

func TestAStateArrivesWhole(t *testing.T) {
	state := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	got := make(chan []byte, 1)
	from, _, address := sendTo(t, func(_ context.Context, from uint64, state io.Reader) error {
		data, err := io.ReadAll(state)
		got <- append(fmt.Appendf(nil, "%d:", from), data...)
		return err
	})
	if err := from.Send(patience(t), 2, address, bytes.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, append([]byte("1:"), state...)) {
		t.Error("another state arrived")
	}
	if n := from.links.count(func(*link) bool { return true }); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestWhoTakesNoStateSaysWhy(t *testing.T) {
	from, _, address := sendTo(t, func(_ context.Context, _ uint64, state io.Reader) error {
		if _, err := io.ReadFull(state, make([]byte, 100)); err != nil {
			return err
		}
		return errors.New("no room")
	})
	err := from.Send(patience(t), 2, address, bytes.NewReader(make([]byte, 100<<20)))
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("send: %v, want its reason", err)
	}
	if err := from.Send(patience(t), 3, address, strings.NewReader("x")); err == nil {
		t.Error("sent to another member than is there")
	}
}

// A state that ends early must never look like one that is whole.
func TestAStateThatBreaksOffIsNoState(t *testing.T) {
	came := make(chan error, 1)
	from, _, address := sendTo(t, func(_ context.Context, _ uint64, state io.Reader) error {
		_, err := io.Copy(io.Discard, state)
		came <- err
		return err
	})
	gone := errors.New("gone")
	err := from.Send(patience(t), 2, address, broken{gone})
	if !errors.Is(err, gone) {
		t.Errorf("send: %v, want its own cause", err)
	}
	if err := <-came; err == nil {
		t.Error("the other side took it for whole")
	}
	ctx, cancel := context.WithCancel(patience(t))
	sent := make(chan error, 1)
	go func() { sent <- from.Send(ctx, 2, address, endless{}) }()
	cancel()
	if err := <-sent; err == nil {
		t.Error("a send that was given up succeeded")
	}
}

type broken struct{ cause error }

func (b broken) WriteTo(to io.Writer) (int64, error) {
	n, err := to.Write(make([]byte, 1<<20))
	return int64(n), errors.Join(err, b.cause)
}

type endless struct{}

func (endless) WriteTo(to io.Writer) (int64, error) {
	for sent := int64(0); ; {
		n, err := to.Write(make([]byte, 1<<20))
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
}

// A door that closes does not wait for a state to be sent or received.
func TestADoorClosesWhileAStateIsUnderWay(t *testing.T) {
	for _, side := range []string{"sender", "receiver"} {
		t.Run(side, func(t *testing.T) {
			began, came := make(chan struct{}), make(chan error, 1)
			from, to, address := sendTo(t, func(_ context.Context, _ uint64, state io.Reader) error {
				close(began)
				_, err := io.Copy(io.Discard, state)
				came <- err
				return err
			})
			sent := make(chan error, 1)
			go func() { sent <- from.Send(patience(t), 2, address, endless{}) }()
			<-began
			if side == "sender" {
				_ = from.Close()
			} else {
				_ = to.Close()
			}
			if err := <-came; err == nil {
				t.Error("the receiver took it for whole")
			}
			if err := <-sent; err == nil {
				t.Error("the sender took it for sent")
			}
		})
	}
}
