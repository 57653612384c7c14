// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cleatd/cleat/admin"
)

// guest is a client of one member over TLS, with a watch that stands, and the
// gateway's besides.
type guest struct {
	client *clientv3.Client
	watch  clientv3.WatchChan
	web    io.ReadCloser

	patient context.Context // ends when the gateway's watch has lasted too long
}

// come opens both watches; they have told that they stand.
func (l *life) come(files *tls.Config) *guest {
	l.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: l.d.clientURLs(), TLS: files, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	g := &guest{client: c, watch: c.Watch(within(l.t), "w", clientv3.WithCreatedNotify())}
	if r := seen(l.t, g.watch); !r.Created {
		l.t.Fatalf("the watch does not stand: %+v", r)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: files.Clone(), DisableKeepAlives: true}}
	g.patient = within(l.t)
	ask, err := http.NewRequestWithContext(g.patient, http.MethodPost, l.d.clientURLs()[0]+"/v3/watch", strings.NewReader(`{"create_request":{"key":"dw=="}}`))
	if err != nil {
		l.t.Fatal(err)
	}
	ask.Header.Set("Content-Type", "application/json")
	reply, err := web.Do(ask)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = reply.Body.Close() })
	if _, err := reply.Body.Read(make([]byte, 1)); err != nil {
		l.t.Fatal(err)
	}
	g.web = reply.Body
	return g
}

// refuses fails unless a handshake with the files is refused as revoked, and
// counted.
func (l *life) refuses(files *tls.Config) {
	l.t.Helper()
	before := l.refusedAsRevoked()
	conn, err := tls.Dial("tcp", l.d.doors.client()[0].Addr().String(), files)
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the client learns of its refusal here
		_ = conn.Close()
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("%s lets it in: %v", l.d.config().Name, err)
	}
	l.reports(func(*admin.StatusResponse) error {
		if n := l.refusedAsRevoked(); n <= before {
			return fmt.Errorf("%v refusals are counted, %v before", n, before)
		}
		return nil
	})
}

// refusedAsRevoked is how many the client door has counted.
func (l *life) refusedAsRevoked() float64 {
	l.t.Helper()
	families, err := l.d.registry.Gather()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "cleat_tls_refused_total" && m.Label[0].GetValue() == "revoked" {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (l *life) revoke(serial string) {
	l.t.Helper()
	r, err := l.administer().RevokeCertificate(within(l.t), &admin.RevokeCertificateRequest{Certificate: serial, Reason: "key-compromise"})
	if err != nil || len(r.Certificates) != 1 || r.Certificates[0].Revoked == nil {
		l.t.Fatalf("%v, %v", r, err)
	}
}

// serialOf is the number of the certificate that the files show.
func serialOf(files *tls.Config) string {
	leaf, err := x509.ParseCertificate(files.Certificates[0].Certificate[0])
	if err != nil {
		panic(err) // it was read before
	}
	return leaf.SerialNumber.String()
}

// serial is the number of the member's own certificate.
func (l *life) serial() string {
	for _, c := range l.d.pki.Certificates() {
		if c.Kind == "member" {
			return c.SerialNumber.String()
		}
	}
	return ""
}

// onList waits until a member has heard of a revocation: its list has it.
func (l *life) onList(serial string) {
	l.t.Helper()
	l.reports(func(*admin.StatusResponse) error {
		der, err := l.d.pki.CRL("")
		if err != nil {
			return err
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.String() == serial {
				return nil
			}
		}
		return fmt.Errorf("list %v has %d entries, without %s", list.Number, len(list.RevokedCertificateEntries), serial)
	})
}

func TestARevokedClientIsCutOffAtEveryMember(t *testing.T) {
	members := three(t)
	alice, bob := members[0].issue(), members[1].issue()
	var theirs, others []*guest
	for _, l := range members {
		theirs, others = append(theirs, l.come(alice)), append(others, l.come(bob))
	}
	began := time.Now()
	members[2].revoke(serialOf(alice))
	told := time.Since(began)
	for i, g := range theirs {
		if _, err := io.Copy(io.Discard, g.web); err == nil || g.patient.Err() != nil {
			t.Errorf("at %s the gateway's watch goes on, or ended as if it had come to its end: %v", members[i].d.config().Name, err)
		}
	}
	t.Logf("revoked after %v, cut off everywhere after %v", told, time.Since(began))
	for _, l := range members {
		l.refuses(alice)
	}
	if _, err := members[0].client.Put(within(t), "w", "x"); err != nil {
		t.Fatal(err)
	}
	for i, g := range others {
		if r := seen(t, g.watch); len(r.Events) != 1 {
			t.Errorf("another's watch at %s: %+v", members[i].d.config().Name, r)
		}
		if _, err := g.client.Get(within(t), "w"); err != nil {
			t.Errorf("another at %s: %v", members[i].d.config().Name, err)
		}
	}
	for _, l := range members {
		l.onList(serialOf(alice))
		l.servesList(serialOf(alice))
	}
}

// servesList asks the ca door for the list, as programs elsewhere do, in both forms
// and at both paths.
func (l *life) servesList(serial string) {
	l.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.d.pki.Bundle())
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true}}
	for _, path := range []string{"/crl", "/1.0/crl?pem"} {
		reply, err := web.Get("https://" + l.d.doorAddresses().Ca + path)
		if err != nil {
			l.t.Fatal(err)
		}
		list, err := io.ReadAll(reply.Body)
		_ = reply.Body.Close() // all was read
		if err != nil {
			l.t.Fatal(err)
		}
		if block, _ := pem.Decode(list); block != nil {
			list = block.Bytes
		}
		read, err := x509.ParseRevocationList(list)
		if err != nil || len(read.RevokedCertificateEntries) != 1 || read.RevokedCertificateEntries[0].SerialNumber.String() != serial {
			l.t.Errorf("%s at %s: %v, %v", path, l.d.config().Name, read, err)
		}
	}
}

func TestARevocationOutlivesRestartsAndCheckpoints(t *testing.T) {
	o := forgetful(advertised(t, "three"))
	first := forgetful(advertised(t, "one"))
	members := []*life{begin(t, first), begin(t, forgetful(advertised(t, "two"))), begin(t, o)}
	by := members[0].invite(&admin.InviteRequest{Uses: 2})
	for _, l := range members[1:] {
		l.join(by)
		l.voter()
	}
	one, three := members[0], members[2]
	alice, bob := one.issue(), one.issue()
	one.revoke(serialOf(alice))
	last := three.d.node.Status().Last
	if err := three.end(); err != nil {
		t.Error(err)
	}
	one.revoke(serialOf(bob)) // while it is away, and the others forget the entry
	for _, l := range members[:2] {
		l.cutLog(last)
	}
	three = begin(t, o) // which gets the state of the others
	if _, err := three.client.Get(within(t), "k"); err != nil {
		t.Fatal(err)
	}
	three.onList(serialOf(bob))
	three.refuses(alice)
	three.refuses(bob)

	first.Config.ListenPeer = one.d.doors.peer()[0].Addr().String()
	if err := one.end(); err != nil {
		t.Error(err)
	}
	one = begin(t, first)
	if _, err := one.client.Get(within(t), "k"); err != nil {
		t.Fatal(err)
	}
	one.refuses(alice)
	one.refuses(bob)
}

// Who is not removed is a member still: it makes itself another certificate, and
// the others take it, also if it cannot hear that the one it has was revoked.
func TestAMemberWhoseCertificateIsRevokedComesBackWithAnother(t *testing.T) {
	members := three(t)
	for _, l := range members { // the leader among them
		serial := l.serial()
		members[0].revoke(serial)
		l.reports(func(*admin.StatusResponse) error {
			if l.serial() == serial {
				return errors.New("it has the revoked certificate still")
			}
			return nil
		})
		if _, err := l.client.Put(within(t), "k", "v"); err != nil {
			t.Errorf("%s: %v", l.d.config().Name, err)
		}
	}
}

// It was away when its certificate was revoked, so nobody listens to it and it
// cannot hear why.
func TestAMemberThatWasAwayWhenItsCertificateWasRevokedComesBack(t *testing.T) {
	o := advertised(t, "three")
	members := []*life{begin(t, advertised(t, "one")), begin(t, advertised(t, "two")), begin(t, o)}
	by := members[0].invite(&admin.InviteRequest{Uses: 2})
	for _, l := range members[1:] {
		l.join(by)
		l.voter()
	}
	three := members[2]
	serial := three.serial()
	o.Config.ListenPeer = three.d.doors.peer()[0].Addr().String()
	if err := three.end(); err != nil {
		t.Error(err)
	}
	members[0].revoke(serial)
	three = begin(t, o)
	if _, err := three.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if three.serial() == serial {
		t.Error("it has the revoked certificate still")
	}
}

// The removed member's certificates end at the client door as they do at the peer
// door, and are on the list.
func TestARemovedMembersCertificateEndsAtTheClientDoor(t *testing.T) {
	members := threeOf(t, func(o *Options) { o.faults.stays = true })
	gone, other := members[2], members[0]
	files := gone.d.pki.PeerDialer(0)
	conn, err := tls.Dial("tcp", other.d.doors.client()[0].Addr().String(), files)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	serial := gone.serial()
	if _, err := other.client.MemberRemove(within(t), gone.d.dir.memberID()); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its connection is open still: %v", err)
	}
	other.refuses(files)
	other.onList(serial)
}

func TestTheAuditIsTheSameOnEveryMember(t *testing.T) {
	members := three(t)
	alice := members[1].issue()
	members[1].revoke(serialOf(alice))
	members[0].refuses(alice)
	want := []string{"issue at one", "invite at one", "join at one", "join at one", "issue at two", "revoke at two", "refuse at one"}
	names := map[uint64]string{}
	for _, l := range members {
		names[l.d.dir.memberID()] = l.d.config().Name
	}
	for _, l := range members {
		l.reports(func(*admin.StatusResponse) error {
			told, err := l.administer().Audit(within(t), &admin.AuditRequest{})
			if err != nil {
				return err
			}
			var got []string
			for {
				r, err := told.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				for _, e := range r.Events {
					if names[e.Member] != "" {
						got = append(got, e.Act+" at "+names[e.Member])
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("%s tells %q, want %q", l.d.config().Name, got, want)
			}
			return nil
		})
	}
}

func TestWhoFollowsTheAuditIsToldOfWhatComes(t *testing.T) {
	l := begin(t, options(t, shortDir(t)))
	ctx := within(t)
	told, err := l.administer().Audit(ctx, &admin.AuditRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	await := func(serial string) {
		t.Helper()
		for {
			r, err := told.Recv()
			if err != nil {
				t.Fatalf("%v, after %q", err, got)
			}
			for _, e := range r.Events {
				got = append(got, e.Serial)
				if e.Serial == serial {
					return
				}
			}
		}
	}
	for range 3 {
		await(serialOf(l.issue()))
	}
	seen := map[string]bool{}
	for _, serial := range got {
		if seen[serial] {
			t.Errorf("told twice of %s: %q", serial, got)
		}
		seen[serial] = true
	}
}
