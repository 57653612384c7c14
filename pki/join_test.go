// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// join begins to join in a fresh directory.
func join(t testing.TB, token Token) *Joining {
	t.Helper()
	j, err := Join(filepath.Join(t.TempDir(), "data", "pki"), token)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func ask(t testing.TB, j *Joining) JoinRequest {
	t.Helper()
	r, err := j.Request("blue", []string{"10.1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func admit(t testing.TB, a *Authority, j *Joining, member uint64) Admission {
	t.Helper()
	m, err := a.Admit(t.Context(), ask(t, j), member)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// newcomer is the config with which a machine opens what it was given.
func newcomer(a *Authority, j *Joining, m Admission) Config {
	c := a.config
	c.Dir, c.ClusterID, c.MemberID = j.dir, m.ClusterID, m.MemberID
	c.Name, c.Hosts, c.Offline = "blue", []string{"10.1.2.3"}, true
	return c
}

func TestAMachineJoinsWithATokenAndSpeaksToTheOthers(t *testing.T) {
	a := open(t, testConfig(t))
	token, err := ParseToken(invite(t, a, Invitation{Role: RoleLearner}).Text())
	if err != nil {
		t.Fatal(err)
	}
	j := join(t, token)
	door := a.PeerDoor()
	door.NextProtos = []string{"cleat-raft/1", "h2"}
	if serverErr, clientErr := accept(t, door, j.TLS()); serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v; client: %v", serverErr, clientErr)
	}
	if info, err := a.CheckJoin(t.Context(), ask(t, j)); err != nil || info.Left != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	m := admit(t, a, j, 2)
	if m.Role != RoleLearner || m.MemberID != 2 || m.ClusterID != a.config.ClusterID {
		t.Errorf("admitted as %s %d of %x", m.Role, m.MemberID, m.ClusterID)
	}
	if err := j.Accept(m); err != nil {
		t.Fatal(err)
	}
	if cluster, member, err := WhoseDir(j.dir); cluster != m.ClusterID || member != 2 || err != nil {
		t.Errorf("the directory is of member %x of %x, %v", member, cluster, err)
	}
	calls := a.config.Ledger.(*memoryLedger).calls
	b := open(t, newcomer(a, j, m))
	chain, _ := decodePEM(m.Chain)
	if !leafOf(b).Equal(chain[0]) || a.config.Ledger.(*memoryLedger).calls != calls {
		t.Error("the new member made a certificate of its own, or asked the ledger")
	}
	if serverErr, clientErr := accept(t, a.PeerDoor(), b.PeerDialer(1)); serverErr != nil || clientErr != nil {
		t.Errorf("the new member calls: %v, %v", serverErr, clientErr)
	}
	if serverErr, clientErr := accept(t, b.PeerDoor(), a.PeerDialer(2)); serverErr != nil || clientErr != nil {
		t.Errorf("the new member is called: %v, %v", serverErr, clientErr)
	}
	if raw, _ := a.config.Ledger.Get(t.Context(), bucketPrefix+certificatesTable, []byte(chain[0].SerialNumber.String())); raw == nil {
		t.Error("its certificate is not recorded")
	}
	if _, err := os.Stat(j.staging("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	for _, name := range []string{clusterKeyFile, caFile, identityFile} {
		if info, err := os.Stat(filepath.Join(j.dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(j.dir); err != nil || info.Mode() != 0o700|os.ModeDir {
		t.Errorf("%v, %v", info, err)
	}
	third := join(t, invite(t, b, Invitation{})) // and it is as good a member as the first
	if err := third.Accept(admit(t, b, third, 3)); err != nil {
		t.Error(err)
	}
}

func TestWithoutACertificateThePeerDoorIsForJoiningOnly(t *testing.T) {
	a := open(t, testConfig(t))
	j := join(t, invite(t, a, Invitation{}))
	for _, protocols := range [][]string{nil, {"h2"}, {"cleat-raft/1"}} {
		door, caller := a.PeerDoor(), j.TLS()
		door.NextProtos, caller.NextProtos = []string{"cleat-raft/1", "h2"}, protocols
		caller.VerifyConnection = nil
		if serverErr, _ := accept(t, door, caller); RefusalReason(serverErr) != ReasonNoCertificate {
			t.Errorf("%v: %v, want a refusal", protocols, serverErr)
		}
	}
	door, caller := a.PeerDoor(), j.TLS()
	door.NextProtos, caller.NextProtos = []string{"cleat-raft/1", "h2"}, []string{"h2", "cleat-raft/1", JoinProtocol}
	seen := state(&caller.VerifyConnection)
	if serverErr, clientErr := accept(t, door, caller); serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v; client: %v", serverErr, clientErr)
	}
	if seen.NegotiatedProtocol != JoinProtocol {
		t.Errorf("a machine without a certificate speaks %q", seen.NegotiatedProtocol)
	}
}

func TestTheTokenDecidesWhomAJoiningMachineTrusts(t *testing.T) {
	a, stranger := open(t, testConfig(t)), open(t, testConfig(t))
	token := invite(t, a, Invitation{})
	root := a.ca().root.Raw
	shows := func(pair tls.Certificate) *tls.Config {
		pair.Certificate = append(pair.Certificate[:len(pair.Certificate):len(pair.Certificate)], root)
		return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{JoinProtocol}}
	}
	alice := issue(t, a, Client, named("alice"))
	web := issue(t, a, Server, x509.CertificateRequest{DNSNames: []string{"web"}})
	rootless := shows(a.current.Load().certificate)
	rootless.Certificates[0].Certificate = rootless.Certificates[0].Certificate[:2]
	for name, test := range map[string]struct {
		door *tls.Config
		want error
	}{
		"a member":                             {shows(a.current.Load().certificate), nil},
		"another cluster":                      {stranger.PeerDoor(), ErrTokenDigest},
		"another cluster that shows our root":  {shows(stranger.current.Load().certificate), ErrTokenDigest},
		"a member that does not show the root": {rootless, ErrTokenDigest},
		"a client":                             {shows(alice), ErrTokenDigest},
		"a service":                            {shows(web), ErrTokenDigest},
		"a member whose certificate is from tomorrow": {
			shows(*signFor(t, a, Peer, a.self(), 24*time.Hour, 48*time.Hour)), ErrClock},
		"a member whose certificate ended": {
			shows(*signFor(t, a, Peer, a.self(), -5*time.Minute, -time.Minute)), ErrClock},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := accept(t, test.door, join(t, token).TLS()); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestWhatTheRequestSaysOfTheMemberDoesNotCount(t *testing.T) {
	a := open(t, testConfig(t))
	j := join(t, invite(t, a, Invitation{}))
	r := ask(t, j)
	r.CSR = request(t, j.key, x509.CertificateRequest{
		Subject: leafOf(a).Subject, URIs: leafOf(a).URIs, DNSNames: []string{"green"},
	}).Raw
	m, err := a.Admit(t.Context(), r, 2)
	if err != nil {
		t.Fatal(err)
	}
	chain, _ := decodePEM(m.Chain)
	if chain[0].Subject.CommonName != "member/0000000000000002" || chain[0].VerifyHostname("green") == nil {
		t.Errorf("the certificate is for %s, %v", chain[0].Subject, chain[0].DNSNames)
	}
	if id, err := memberOf(chain[0]); id != 2 || err != nil {
		t.Errorf("it is of member %d, %v", id, err)
	}
}

func TestAdmitRefusesAndCountsNoUse(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	token := invite(t, a, Invitation{})
	good := ask(t, join(t, token))
	for name, test := range map[string]struct {
		change func(*JoinRequest)
		want   error
	}{
		"no request":         {func(r *JoinRequest) { r.CSR = nil }, ErrRequest},
		"a huge request":     {func(r *JoinRequest) { r.CSR = make([]byte, maxJoinRequestBytes+1) }, ErrRequest},
		"a forged request":   {func(r *JoinRequest) { r.CSR = bytes.Clone(r.CSR); r.CSR[len(r.CSR)-1] ^= 1 }, ErrRequest},
		"no name":            {func(r *JoinRequest) { r.Name = "" }, ErrName},
		"a bad host":         {func(r *JoinRequest) { r.Hosts = []string{"a b"} }, ErrName},
		"a clock of its own": {func(r *JoinRequest) { r.Time = r.Time.Add(-24 * time.Hour) }, ErrClock},
		"no token":           {func(r *JoinRequest) { r.Token = Token{} }, ErrTokenDigest},
		"another secret":     {func(r *JoinRequest) { r.Token.secret[0] ^= 1 }, ErrTokenUnknown},
	} {
		r := good
		test.change(&r)
		_, checkErr := a.CheckJoin(t.Context(), r)
		_, err := a.Admit(t.Context(), r, 2)
		if !errors.Is(err, test.want) || !errors.Is(checkErr, test.want) {
			t.Errorf("%s: %v, at the check %v, want %v", name, err, checkErr, test.want)
		}
	}
	if n := c.Ledger.(*memoryLedger).count(t, bucketPrefix+certificatesTable); n != 1 {
		t.Errorf("%d certificates are recorded, want the member's own", n)
	}
	if _, err := a.Admit(t.Context(), good, 2); err != nil {
		t.Errorf("after all that the token is no good: %v", err)
	}
}

func TestARemovedMachineIsNotLetInByItsOldToken(t *testing.T) {
	c := testConfig(t)
	removed := false
	c.Removed = func(uint64) bool { return removed }
	a := open(t, c)
	j := join(t, invite(t, a, Invitation{Uses: 2}))
	admit(t, a, j, 2)
	removed = true
	if _, err := a.Admit(t.Context(), ask(t, j), 3); !errors.Is(err, ErrTokenUsed) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("%v, want ErrTokenUsed", err)
	}
}

// A crash is an attempt that fails somewhere, after which the machine starts
// anew: the ledger's calls first, then the files.
func TestAJoinThatBreaksOffAnywhereIsTakenUpAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; at <= 3; at++ {
			c := testConfig(t)
			ledger := c.Ledger.(*memoryLedger)
			a := open(t, c)
			token := invite(t, a, Invitation{})
			j := join(t, token)
			ledger.failAt, ledger.failAfter = ledger.calls+at, after
			if _, err := a.Admit(t.Context(), ask(t, j), 2); err == nil {
				t.Fatalf("call %d did not fail", at)
			}
			j, err := Join(j.dir, token)
			if err != nil {
				t.Fatal(err)
			}
			m, err := a.Admit(t.Context(), ask(t, j), 3)
			if err != nil {
				t.Fatalf("call %d: %v", at, err)
			}
			if err := j.Accept(m); err != nil {
				t.Errorf("call %d: %v", at, err)
			}
		}
	}
}

func TestACrashWhileAcceptingLeavesNothingOrAll(t *testing.T) {
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{Uses: 10})
	for _, name := range []string{clusterKeyFile, caFile, identityFile} {
		t.Run(name+" cannot be written", func(t *testing.T) {
			j := join(t, token)
			m := admit(t, a, j, 2)
			if err := os.Mkdir(j.staging(name+".tmp"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := j.Accept(m); err == nil {
				t.Fatal("accepted although a file could not be written")
			}
			resume(t, a, j)
		})
		t.Run(name+" was half written", func(t *testing.T) {
			j := join(t, token)
			if err := os.WriteFile(j.staging(name+".tmp"), []byte("-----BEG"), 0o644); err != nil {
				t.Fatal(err)
			}
			resume(t, a, j)
		})
	}
	t.Run("everything was written but the name", func(t *testing.T) {
		j := join(t, token)
		m := admit(t, a, j, 2)
		if err := os.MkdirAll(filepath.Join(j.dir, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := j.Accept(m); err == nil {
			t.Fatal("accepted although something was there")
		}
		if err := os.RemoveAll(filepath.Join(j.dir, "in the way")); err != nil {
			t.Fatal(err)
		}
		resume(t, a, j) // over an empty directory
	})
	t.Run("the key was damaged", func(t *testing.T) {
		j := join(t, token)
		if err := os.WriteFile(j.staging(identityFile), []byte("-----BEG"), 0o600); err != nil {
			t.Fatal(err)
		}
		resume(t, a, j)
	})
}

// resume is the start after a crash: nothing is there, and all of it soon is.
func resume(t *testing.T, a *Authority, broken *Joining) {
	t.Helper()
	if _, _, err := WhoseDir(broken.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a part of it is there: %v", err)
	}
	j, err := Join(broken.dir, broken.token)
	if err != nil {
		t.Fatal(err)
	}
	m := admit(t, a, j, 2)
	if err := j.Accept(m); err != nil {
		t.Fatal(err)
	}
	b := open(t, newcomer(a, j, m))
	if err := b.checkIdentity(leafOf(b)); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(j.dir); len(entries) != 3 {
		t.Errorf("in the directory: %v", entries)
	}
	if _, err := Join(j.dir, j.token); !errors.Is(err, ErrJoined) {
		t.Errorf("joined again: %v, want ErrJoined", err)
	}
}

func TestAnAnswerThatDoesNotHoldTogetherIsNotAccepted(t *testing.T) {
	a, stranger := open(t, testConfig(t)), open(t, testConfig(t))
	token := invite(t, a, Invitation{Uses: 2})
	j, other := join(t, token), join(t, token)
	good, others := admit(t, a, j, 2), admit(t, a, other, 3)
	strange := join(t, invite(t, stranger, Invitation{}))
	foreign := admit(t, stranger, strange, 2)
	lured := admit(t, stranger, &Joining{token: invite(t, stranger, Invitation{}), key: j.key}, 2)
	client, err := a.ca().sign(context.Background(), request(t, j.key, named("alice")), Client, subject{name: "alice"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Admission){
		"nothing":                     func(m *Admission) { *m = Admission{} },
		"another machine's":           func(m *Admission) { *m = others },
		"another cluster's key":       func(m *Admission) { m.ClusterKey = foreign.ClusterKey },
		"another cluster's CA":        func(m *Admission) { m.CA = foreign.CA },
		"all of another cluster's CA": func(m *Admission) { m.CA, m.ClusterKey = foreign.CA, foreign.ClusterKey },
		"all of another cluster":      func(m *Admission) { *m = lured },
		"a damaged CA":                func(m *Admission) { m.CA = m.CA[:100] },
		"a newer CA":                  func(m *Admission) { m.CA = []byte(`{"format":2}`) },
		"another cluster's id":        func(m *Admission) { m.ClusterID++ },
		"another member's id":         func(m *Admission) { m.MemberID++ },
		"a client's certificate":      func(m *Admission) { m.Chain = EncodePEM(client...) },
	} {
		m := good
		change(&m)
		if err := j.Accept(m); !errors.Is(err, ErrAdmission) {
			t.Errorf("%s: %v, want ErrAdmission", name, err)
		}
		if _, err := os.Stat(j.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the directory is there (%v)", name, err)
		}
	}
	if err := j.Accept(good); err != nil {
		t.Error(err)
	}
	if err := other.Abandon(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other.staging("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was abandoned something is left: %v", err)
	}
}

func TestACertificateIsValidByTheSlowestClockThatIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, testConfig(t))
		j := join(t, invite(t, a, Invitation{}))
		r := ask(t, j)
		pass(maxClockDifference) // the machine's clock is that far behind
		m, err := a.Admit(t.Context(), r, 2)
		if err != nil {
			t.Fatal(err)
		}
		chain, _ := decodePEM(m.Chain)
		if valid := chain[0].NotBefore; valid.After(r.Time) {
			t.Errorf("there it is %v, the certificate is valid from %v", r.Time, valid)
		}
		if root := a.ca().root; root.NotBefore.After(r.Time) {
			t.Errorf("there it is %v, the root is valid from %v", r.Time, fmt.Sprint(root.NotBefore))
		}
	})
}
