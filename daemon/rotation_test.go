// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cleatd/cleat/admin"
)

// rotate asks for an act on the rotation and returns how the CA stands.
func (l *life) rotate(act, until string) *admin.CAStatusResponse {
	l.t.Helper()
	r, err := l.administer().RotateCA(within(l.t), &admin.RotateCARequest{Act: act, Until: until})
	if err != nil {
		l.t.Fatalf("%s: %v", act, err)
	}
	return r
}

// stands waits until the rotation is at the step and no member has anything left
// to do; "" is when there is none.
func (l *life) stands(step string) *admin.CAStatusResponse {
	l.t.Helper()
	var now *admin.CAStatusResponse
	calls := l.administer()
	l.reports(func(*admin.StatusResponse) error {
		var err error
		if now, err = calls.CAStatus(within(l.t), &admin.CAStatusRequest{}); err != nil {
			return err
		}
		r := now.GetRotation()
		if r.GetStep() != step {
			return fmt.Errorf("at %q, want %q: %v", r.GetStep(), step, r)
		}
		for _, m := range r.GetMembers() {
			if !m.Trusts || step == "issuing" && !m.Moved {
				return fmt.Errorf("member %x: %v", m.Id, m)
			}
		}
		return nil
	})
	return now
}

// roots are those in a bundle, each as a pool of its own, by their digest.
func (l *life) roots() map[string]*x509.CertPool {
	l.t.Helper()
	found := map[string]*x509.CertPool{}
	for rest := l.d.pki.Bundle(); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			l.t.Fatal(err)
		}
		sum := sha256.Sum256(c.Raw)
		pool := x509.NewCertPool()
		pool.AddCert(c)
		found[hex.EncodeToString(sum[:])] = pool
	}
}

// greets makes a new connection to the member's client door, and asks something.
func (l *life) greets(client *tls.Config, root *x509.CertPool) error {
	config := client.Clone()
	config.RootCAs = root
	calls := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	r, err := calls.Get("https://" + l.d.doorAddresses().Client + "/version")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return nil
}

// clients are those of before and of now, and the roots that some of them hold.
type clients struct {
	certificates map[string]*tls.Config
	roots        map[string]*x509.CertPool
}

// greet has each client, holding each of the roots alone, come to each member.
func (c clients) greet(members []*life) error {
	for name, certificate := range c.certificates {
		for digest, root := range c.roots {
			for _, l := range members {
				if err := l.greets(certificate, root); err != nil {
					return fmt.Errorf("the client %s, holding root %s, at %s: %w", name, digest[:8], l.d.config().Name, err)
				}
			}
		}
	}
	return nil
}

// leader waits until one leads, and returns it and another voter.
func leader(members []*life) (now, other *life) {
	members[0].reports(func(s *admin.StatusResponse) error {
		for n, l := range members {
			if l.d.dir.memberID() == s.Raft.Leader {
				now, other = l, members[(n+1)%len(members)]
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return now, other
}

func handOver(t *testing.T, members []*life) {
	t.Helper()
	now, next := leader(members)
	if _, err := now.client.MoveLeader(within(t), next.d.dir.memberID()); err != nil {
		t.Fatal(err)
	}
}

// load has requests and new connections go on at all members until it is stopped.
func (c clients) load(t *testing.T, members []*life) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	for i, l := range members {
		g.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.asked(fmt.Sprint("by ", i), fmt.Sprint(n)); err != nil {
					return fmt.Errorf("request %d at %s: %w", n, l.d.config().Name, err)
				}
			}
			return nil
		})
	}
	with := clients{maps.Clone(c.certificates), maps.Clone(c.roots)}
	g.Go(func() error {
		for ctx.Err() == nil {
			if err := with.greet(members); err != nil {
				return err
			}
		}
		return nil
	})
	return func() error { cancel(); return g.Wait() }
}

// Requests and new connections go on at all members, from clients of both roots,
// while the rotation takes its steps and the leader changes at each.
func TestNoConnectionFailsWhileTheRootIsRotated(t *testing.T) {
	members := three(t)
	all := clients{map[string]*tls.Config{"of before": members[0].issue()}, members[0].roots()}
	before := maps.Clone(all.roots)
	stop := all.load(t, members)
	for n, step := range []string{"prepared", "trusted", "issuing"} {
		now, other := leader(members)
		act := "continue"
		if n == 0 {
			act = "root"
		}
		other.rotate(act, step)
		now.stands(step)
		if _, err := now.administer().RotateCA(within(t), &admin.RotateCARequest{Act: "root"}); err == nil || !strings.Contains(err.Error(), "a rotation of the CA is under way") {
			t.Errorf("a second rotation: %v", err)
		}
		if err := stop(); err != nil {
			t.Fatalf("on the way to %s: %v", step, err)
		}
		all.certificates["of "+step], all.roots = members[n].issue(), members[n].roots()
		if len(all.roots) != 2 {
			t.Fatalf("at %s a client is given %d roots, want both", step, len(all.roots))
		}
		stop = all.load(t, members)
		handOver(t, members)
		other.stands(step)
	}
	if err := stop(); err != nil {
		t.Fatalf("at the last step: %v", err)
	}
	if _, err := members[1].administer().RotateCA(within(t), &admin.RotateCARequest{Act: "finish"}); err == nil || !strings.Contains(err.Error(), "3 unexpired certificates hang") {
		t.Errorf("finish while certificates hang: %v", err)
	}
	if _, err := members[1].administer().RotateCA(within(t), &admin.RotateCARequest{Act: "finish", Force: true}); err != nil {
		t.Fatal(err)
	}
	all.dropped(t, members, before)
}

// dropped fails the test unless those who hang on the roots of before are refused
// at all members, and others are not.
func (c clients) dropped(t *testing.T, members []*life, before map[string]*x509.CertPool) {
	t.Helper()
	for _, l := range members {
		l.reports(func(*admin.StatusResponse) error {
			for digest := range l.roots() {
				if before[digest] != nil {
					return errors.New("it goes by the old root still")
				}
			}
			return nil
		})
	}
	fresh := clients{map[string]*tls.Config{"of issuing": c.certificates["of issuing"]}, members[0].roots()}
	if err := fresh.greet(members); err != nil {
		t.Error(err)
	}
	for _, l := range members {
		for _, root := range before {
			if err := l.greets(c.certificates["of issuing"], root); err == nil {
				t.Errorf("%s is good for who holds the dropped root only", l.d.config().Name)
			}
		}
		for _, root := range fresh.roots {
			if err := l.greets(c.certificates["of before"], root); err == nil {
				t.Errorf("%s lets in whom the dropped root vouches for", l.d.config().Name)
			}
		}
		if err := l.asked("afterwards", "x"); err != nil {
			t.Error(err)
		}
	}
}

// settings are those of the member, behind the doors that it has now.
func (l *life) settings() Options {
	o := Options{Config: *l.d.config(), Level: l.d.level, Logger: l.d.log, limit: patience}
	doors := l.d.doorAddresses()
	o.Config.ListenPeer, o.Config.ListenClient = doors.Peer, doors.Client
	return o
}

// restart ends a member and begins it anew.
func (l *life) restart() *life {
	l.t.Helper()
	o := l.settings()
	if err := l.end(); err != nil {
		l.t.Fatal(err)
	}
	return begin(l.t, o)
}

// Every member ends and begins anew at each step, and a machine joins with a
// token of before.
func TestARotationSurvivesRestartsAtEveryStep(t *testing.T) {
	members := three(t)
	invited := members[0].invite(&admin.InviteRequest{Uses: 2})
	all := clients{map[string]*tls.Config{"of before": members[0].issue()}, members[0].roots()}
	for n, step := range []string{"prepared", "trusted", "issuing"} {
		act := "continue"
		if n == 0 {
			act = "root"
		}
		members[n].rotate(act, step)
		for i := range members { // the first while the step is on its way
			members[i] = members[i].restart()
			members[i].stands(step)
		}
		all.certificates["of "+step], all.roots = members[n].issue(), members[n].roots()
		if err := all.greet(members); err != nil {
			t.Fatalf("at %s: %v", step, err)
		}
		if step != "trusted" {
			continue
		}
		four := begin(t, advertised(t, "four"))
		by := invited
		by.Address = members[0].d.peerAddress()
		four.join(by)
		four.voter()
		members = append(members, four)
		members[0].stands(step)
	}
	if _, err := members[2].administer().RotateCA(within(t), &admin.RotateCARequest{Act: "finish", Force: true}); err != nil {
		t.Fatal(err)
	}
	for i := range members {
		members[i] = members[i].restart()
		members[i].stands("")
	}
	fresh := clients{map[string]*tls.Config{"of issuing": all.certificates["of issuing"]}, members[3].roots()}
	if err := fresh.greet(members); err != nil {
		t.Error(err)
	}
	late := begin(t, advertised(t, "late"))
	_, err := late.administer().Join(within(t), &admin.JoinRequest{Token: invited.Token, Address: members[0].d.peerAddress()})
	if err == nil || !strings.Contains(err.Error(), "the token is not for this cluster") {
		t.Errorf("a token of before the rotation, after it: %v", err)
	}
}

// A rotation that was aborted after the new root had issued goes back while
// members end and begin anew, and refuses none of those that it had served.
func TestARotationGoesBackOverRestarts(t *testing.T) {
	members := three(t)
	all := clients{map[string]*tls.Config{"of before": members[0].issue()}, members[0].roots()}
	members[1].rotate("root", "issuing")
	members[2].stands("issuing")
	all.certificates["of issuing"], all.roots = members[2].issue(), members[2].roots()
	members[0].rotate("abort", "")
	for i := range members {
		members[i] = members[i].restart()
	}
	if now := members[1].stands("issuing"); !now.Rotation.Back || len(now.Rotation.Hanging) != 1 {
		t.Errorf("going back: %v", now.Rotation)
	}
	if err := all.greet(members); err != nil {
		t.Error(err)
	}
	if _, err := members[2].administer().RotateCA(within(t), &admin.RotateCARequest{Act: "finish", Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, l := range members {
		l.stands("")
		l.reports(func(*admin.StatusResponse) error {
			if n := len(l.roots()); n != 1 {
				return fmt.Errorf("%d roots", n)
			}
			return nil
		})
		for _, root := range l.roots() {
			if err := l.greets(all.certificates["of before"], root); err != nil {
				t.Errorf("back at %s: %v", l.d.config().Name, err)
			}
		}
	}
}
