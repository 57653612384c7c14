// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// colleague opens another member of a's cluster, which has its cluster key.
func colleague(t testing.TB, a *Authority, member uint64) *Authority {
	t.Helper()
	c := a.config
	c.Dir, c.MemberID, c.Name = filepath.Join(t.TempDir(), "pki"), member, "blue"
	copyFile(t, filepath.Join(a.config.Dir, clusterKeyFile), filepath.Join(c.Dir, clusterKeyFile))
	return open(t, c)
}

func TestMembersReachOneAnotherAndKnowWhoItIs(t *testing.T) {
	green := open(t, testConfig(t))
	blue := colleague(t, green, 2)
	for _, want := range []uint64{2, 0} {
		door, dialer := blue.PeerDoor(), green.PeerDialer(want)
		door.NextProtos, dialer.NextProtos = []string{"cleat-raft/1", "h2"}, []string{"cleat-raft/1"}
		caller, called := state(&door.VerifyConnection), state(&dialer.VerifyConnection)
		if serverErr, clientErr := accept(t, door, dialer); serverErr != nil || clientErr != nil {
			t.Fatalf("server: %v; client: %v", serverErr, clientErr)
		}
		if id, err := MemberOf(*caller); id != 1 || err != nil {
			t.Errorf("the caller is %d, %v", id, err)
		}
		if id, err := MemberOf(*called); id != 2 || err != nil {
			t.Errorf("the called is %d, %v", id, err)
		}
		if called.NegotiatedProtocol != "cleat-raft/1" || called.Version != tls.VersionTLS13 {
			t.Errorf("they speak %q over %x", called.NegotiatedProtocol, called.Version)
		}
	}
}

// state lets a test see what the check sees.
func state(verify *func(tls.ConnectionState) error) *tls.ConnectionState {
	seen, inner := new(tls.ConnectionState), *verify
	*verify = func(c tls.ConnectionState) error {
		*seen = c
		return inner(c)
	}
	return seen
}

func TestADialerReachesTheMemberThatItMeansOrNobody(t *testing.T) {
	c := testConfig(t)
	green := open(t, c)
	blue := colleague(t, green, 2)
	alice := issue(t, green, Client, named("alice"))
	web := signFor(t, green, Server, subject{name: "web", sans: []string{"localhost"}}, -time.Hour, time.Hour)
	expired := signFor(t, green, Peer, blue.self(), -time.Hour, -time.Minute)
	c.ClusterID++
	foreign := open(t, c)
	stranger := open(t, testConfig(t))
	for name, test := range map[string]struct {
		door   tls.Certificate
		reason string
	}{
		"another member":                      {green.current.Load().certificate, ReasonBadCertificate},
		"a client":                            {alice, ReasonWrongUsage},
		"a service":                           {*web, ReasonWrongUsage},
		"the member, expired":                 {*expired, ReasonExpired},
		"a member of another cluster":         {foreign.current.Load().certificate, ReasonBadCertificate},
		"a member of a cluster of a stranger": {stranger.current.Load().certificate, ReasonUnknownAuthority},
	} {
		t.Run(name, func(t *testing.T) {
			door := &tls.Config{Certificates: []tls.Certificate{test.door}, ClientAuth: tls.RequireAnyClientCert}
			if _, err := accept(t, door, green.PeerDialer(2)); RefusalReason(err) != test.reason {
				t.Errorf("reason %q (%v), want %q", RefusalReason(err), err, test.reason)
			}
		})
	}
}

func TestARemovedMemberIsRefusedOnBothSidesFromThenOn(t *testing.T) {
	c := testConfig(t)
	var removed atomic.Uint64
	c.Removed = func(member uint64) bool { return removed.Load() == member }
	green := open(t, c)
	blue := colleague(t, green, 2)
	door, dialer := green.PeerDoor(), green.PeerDialer(2)
	if serverErr, clientErr := accept(t, door, blue.PeerDialer(1)); serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v; client: %v", serverErr, clientErr)
	}
	blue.config.Removed = nil // it has not heard
	removed.Store(2)
	atTheDoor, _ := accept(t, door, blue.PeerDialer(1))
	asAClient, _ := accept(t, green.ClientDoor(), blue.PeerDialer(1))
	_, dialled := accept(t, blue.PeerDoor(), dialer)
	for where, err := range map[string]error{"at the peer door": atTheDoor, "at the client door": asAClient, "dialled": dialled} {
		if RefusalReason(err) != ReasonRevoked {
			t.Errorf("%s: reason %q (%v), want %q", where, RefusalReason(err), err, ReasonRevoked)
		}
	}
}

func TestOnlyTheExactURINamesAMember(t *testing.T) {
	for text, want := range map[string]bool{
		"spiffe://00000000000c1ea7/member/0000000000000001":     true,
		"spiffe://ffffffffffffffff/member/ffffffffffffffff":     true,
		"spiffe://00000000000c1ea7/member/0000000000000000":     false,
		"spiffe://00000000000c1ea7/member/1":                    false,
		"spiffe://c1ea7/member/0000000000000001":                false,
		"spiffe://00000000000C1EA7/member/0000000000000001":     false,
		"spiffe://00000000000c1ea7/member/0000000000000001/":    false,
		"spiffe://00000000000c1ea7/member/0000000000000001?a=b": false,
		"spiffe://00000000000c1ea7/member/0000000000000001#a":   false,
		"spiffe://a@00000000000c1ea7/member/0000000000000001":   false,
		"spiffe://00000000000c1ea7:80/member/0000000000000001":  false,
		"spiffe://00000000000c1ea7/members/0000000000000001":    false,
		"spiffe://00000000000c1ea7/0000000000000001":            false,
		"https://00000000000c1ea7/member/0000000000000001":      false,
		"spiffe://00000000000c1ea7/%6dember/0000000000000001":   false,
		"spiffe://00000000000c1ea7/member/-000000000000001":     false,
	} {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := parseMemberURI(uri); ok != want {
			t.Errorf("%s names a member: %v, want %v", text, ok, want)
		}
	}
	two := &x509.Certificate{SerialNumber: big.NewInt(7), URIs: []*url.URL{memberURI(1, 2), memberURI(1, 3)}}
	if _, id, err := identify(two); RefusalReason(err) != ReasonBadCertificate {
		t.Errorf("a certificate with two URIs is of member %d (%v)", id, err)
	}
}

func TestAConnectionOfSomebodyElseIsNoMembers(t *testing.T) {
	a := open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	for name, c := range map[string]tls.ConnectionState{
		"nobody": {}, "a client": {PeerCertificates: []*x509.Certificate{alice.Leaf}},
	} {
		if id, err := MemberOf(c); !errors.Is(err, ErrNotMember) {
			t.Errorf("%s: %d, %v, want ErrNotMember", name, id, err)
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
