// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"

	hraft "github.com/hashicorp/raft"
)

// Network is how members reach one another. It authenticates both ends: no
// stream and no call may arrive under a member's id that this member did not
// open. All methods may be called concurrently.
//
// The Node closes its Network when it stops, and when Open fails.
type Network interface {
	// Dial opens a stream of raft's messages to a member. It is refused when
	// another member answers there; member 0 is whoever answers.
	Dial(ctx context.Context, member uint64, address string) (net.Conn, error)

	// Accept returns the streams that other members opened. Once the network
	// is closed it returns net.ErrClosed.
	Accept() (net.Conn, error)

	// Call passes a request to that member's [Node.Answer] and returns its
	// answer. An error is [ErrUnreached] if the request certainly did not
	// arrive; after any other error it may have been carried out.
	Call(ctx context.Context, member uint64, address string, request []byte) ([]byte, error)

	// Send passes a state to that member's [Node.Receive] and returns when that
	// has, with its error. It is cut off when ctx ends.
	Send(ctx context.Context, member uint64, address string, state io.WriterTo) error

	// Close ends all talk. What this member has answered still arrives.
	Close() error
}

// Member is one member of the cluster, as the newest configuration in this
// member's log has it.
type Member struct {
	ID      uint64
	Address string // where other members reach it
	Learner bool   // takes part without a vote
}

// Members never waits. What it returns may not be committed yet.
func (n *Node) Members() []Member {
	var members []Member
	for _, s := range n.servers() {
		members = append(members, memberFrom(s))
	}
	return members
}

func memberFrom(s hraft.Server) Member {
	return Member{ID: memberOf(s.ID), Address: string(s.Address), Learner: s.Suffrage != hraft.Voter}
}

// servers is a copy: hraft gives out its own.
func (n *Node) servers() []hraft.Server {
	return slices.Clone(n.raft.GetConfiguration().Configuration().Servers)
}

// server finds a member in the newest configuration.
func (n *Node) server(member uint64) (hraft.Server, bool) {
	id := serverID(member)
	for _, s := range n.servers() {
		if s.ID == id {
			return s, true
		}
	}
	return hraft.Server{}, false
}

// hints are addresses that members told of themselves, which the configuration
// does not have yet: a member that moved must be reached before the change of
// its address can be committed, because its vote may be needed for that.
type hints struct {
	mu      sync.Mutex
	members map[hraft.ServerID]hint
}

// A hint counts until the configuration changes.
type hint struct{ address, instead string }

func (h *hints) note(id hraft.ServerID, address, instead string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members == nil {
		h.members = map[hraft.ServerID]hint{}
	}
	h.members[id] = hint{address, instead}
}

// resolve is where a member is that the configuration has at address.
func (h *hints) resolve(id hraft.ServerID, address string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if told, ok := h.members[id]; ok && told.instead == address {
		return told.address
	}
	return address
}
