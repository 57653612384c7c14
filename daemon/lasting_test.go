// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"net"
	"testing"
)

// Who comes while nobody serves a door stays in the kernel's queue, where the next
// one finds them; a door that is given back lets nobody in.
func TestWhoComesWhileNobodyServesWaitsForTheNext(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			inner, err := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": shortDir(t) + "/s"}[network])
			if err != nil {
				t.Fatal(err)
			}
			door := last(inner)
			defer door.Close()
			for range 3 {
				first := door.lend()
				ended := make(chan error, 1)
				go func() {
					c, err := first.Accept()
					if c != nil {
						_ = c.Close()
					}
					ended <- err
				}()
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Fatalf("a door that was given back: %v", err)
				}
				caller, err := net.Dial(network, inner.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := caller.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				next := door.lend()
				c, err := next.Accept()
				if err != nil {
					t.Fatal(err)
				}
				said := make([]byte, 5)
				if _, err := c.Read(said); err != nil || string(said) != "hello" {
					t.Errorf("heard %q, %v", said, err)
				}
				_, _, _ = next.Close(), c.Close(), caller.Close()
			}
		})
	}
}

// A listener that has moved ends who serves it, too.
func TestADoorThatHasMovedIsClosed(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := last(inner)
	lent := door.lend()
	door.retire()
	if _, err := lent.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("let in with %v", err)
	}
}
