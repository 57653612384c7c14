// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net"
	"runtime"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/state"
)

// caller is who is behind a connection. The door that accepted the connection
// decides it once, before the first byte of a request is looked at; it is
// immutable from then on.
type caller struct {
	identity state.Identity
	// refusal is what every request of this caller is answered with. A refused
	// caller is let through the door so that it is told why in the protocol
	// that it speaks.
	refusal error
	account *account // of the connection
}

// AuthType makes a caller what grpc calls the AuthInfo of a connection.
func (*caller) AuthType() string { return "cleat" }

var errNoCaller = status.Error(codes.Unauthenticated, "cleat: this connection has no caller")

// callerOf returns who sent the request that ctx belongs to, or the refusal.
func callerOf(ctx context.Context) (*caller, error) {
	p, known := peer.FromContext(ctx)
	if !known {
		return nil, errNoCaller
	}
	who, known := p.AuthInfo.(*caller)
	if !known {
		return nil, errNoCaller
	}
	return who, who.refusal
}

type callerKey struct{}

// withCaller is net/http's ConnContext: requests of a connection find their
// caller in the context.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	if admitted, ok := c.(*conn); ok {
		return context.WithValue(ctx, callerKey{}, admitted.caller)
	}
	return ctx
}

// httpCallerOf is callerOf for requests that came through net/http.
func httpCallerOf(ctx context.Context) (*caller, error) {
	who, known := ctx.Value(callerKey{}).(*caller)
	if !known {
		return nil, errNoCaller
	}
	return who, who.refusal
}

// conn is a connection whose caller is known. It closes the caller's account.
type conn struct {
	net.Conn
	caller *caller
	met    func() // tells that a server has it, or that it is closed; may be called again; nil: nobody asks
	left   func() // tells that it is closed; may be called again; nil: nobody asks
}

// Write lets others have the processor after each write while large answers go
// out: TLS and the kernel take as much of it as reading does.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.caller.account.large.held.Load() > 0 {
		runtime.Gosched()
	}
	return n, err
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	if c.met != nil {
		c.met()
	}
	if c.left != nil {
		c.left()
	}
	c.caller.account.close()
	return err
}

// admitted is the TransportCredentials of our grpc servers: all handshakes
// were done by a door, which left their outcome in the connection.
type admitted struct{ fair *fairness }

var errNotAdmitted = errors.New("api: connection did not come through a door")

func (a admitted) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := raw.(*conn)
	if !ok {
		return nil, nil, errNotAdmitted
	}
	a.fair.know(c)
	if c.met != nil {
		c.met()
	}
	return c, c.caller, nil
}

func (admitted) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("api: these credentials are for servers only")
}

func (admitted) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "cleat"}
}

func (a admitted) Clone() credentials.TransportCredentials { return a }
func (admitted) OverrideServerName(string) error           { return nil }
