// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/cleatd/cleat/admin"
)

// More than every run can wait for: go test ./daemon -run TurnOver -lives 34 is a
// hundred renewals. With a -life of 6s a busy machine has not the time to make all
// connections anew, so that some are cut; requests do not fail then either.
var (
	lives           = flag.Int("lives", 3, "how many certificates of each member end while certificates turn over")
	certificateLife = flag.Duration("life", 18*time.Second, "how long each of them lives")
)

// Certificates of seconds end while each member is asked without a pause: no
// request may fail, and no connection between members may live to the end of
// its certificate.
func TestNoRequestFailsWhileCertificatesTurnOver(t *testing.T) {
	members := threeOf(t, func(o *Options) { o.Config.CertTTL = *certificateLife })
	ctx, stop := context.WithCancel(t.Context())
	var load errgroup.Group
	for i, l := range members {
		load.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.asked(fmt.Sprint("by ", i), fmt.Sprint(n)); err != nil {
					return fmt.Errorf("request %d at %s: %w", n, l.d.config().Name, err)
				}
			}
			return nil
		})
	}
	had := map[string]map[string]bool{}
	for turn := range *lives {
		members[0].reports(func(*admin.StatusResponse) error {
			fewest := *lives + 1
			for _, l := range members {
				fewest = min(fewest, len(l.certificates(had)))
			}
			if fewest <= turn+1 {
				return fmt.Errorf("the certificates were %v", had)
			}
			return nil
		})
	}
	stop()
	if err := load.Wait(); err != nil {
		t.Error(err)
	}
	for _, l := range members {
		if n := l.metric("cleat_peer_expired_total"); n != 0 {
			t.Errorf("%s has had %v connections cut by their certificates", l.d.config().Name, n)
		}
	}
}

// certificates adds the certificate that the member has now to those it had.
func (l *life) certificates(had map[string]map[string]bool) map[string]bool {
	name := l.d.config().Name
	if had[name] == nil {
		had[name] = map[string]bool{}
	}
	for _, c := range l.d.pki.Certificates() {
		if c.Kind == "member" {
			had[name][c.SerialNumber.String()] = true
		}
	}
	return had[name]
}

// asked puts, gets and changes a key, each once: nothing is tried again.
func (l *life) asked(key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := l.client.Put(ctx, key, value); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	r, err := l.client.Get(ctx, key)
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != value {
		return fmt.Errorf("get: %v, %w", r, err)
	}
	txn := l.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", value)).Then(clientv3.OpDelete(key))
	if r, err := txn.Commit(); err != nil || !r.Succeeded {
		return fmt.Errorf("txn: %v, %w", r, err)
	}
	return nil
}

// A member's certificate is not enough to get in at the peer door: it takes
// TLS 1.3 and a protocol that is spoken there.
func TestThePeerDoorTakesNothingButItsProtocols(t *testing.T) {
	one, two := begin(t, advertised(t, "one")), begin(t, advertised(t, "two"))
	two.join(one.invite(&admin.InviteRequest{}))
	for name, c := range map[string]struct {
		protocols []string
		newest    uint16
		want      string // in the refusal; "": it gets in
	}{
		"calls":                 {[]string{"h2"}, tls.VersionTLS13, ""},
		"calls over TLS 1.2":    {[]string{"h2"}, tls.VersionTLS12, "protocol version"},
		"raft's over TLS 1.2":   {[]string{"cleat-raft/1"}, tls.VersionTLS12, "protocol version"},
		"no protocol":           {nil, tls.VersionTLS13, "reset|EOF"},
		"another protocol":      {[]string{"http/1.1"}, tls.VersionTLS13, "reset|EOF"},
		"raft's of another day": {[]string{"cleat-raft/0"}, tls.VersionTLS13, "no application protocol"},
	} {
		config := two.d.pki.PeerDialer(one.d.dir.memberID())
		config.NextProtos, config.MinVersion, config.MaxVersion = c.protocols, tls.VersionTLS12, c.newest
		switch err := knock(t, one.d.peerAddress(), config); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !regexp.MustCompile(c.want).MatchString(err.Error())):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// knock returns nil if whoever is at the address lets in and says something. In
// TLS 1.3 a refusal comes when one reads.
func knock(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	dialer := tls.Dialer{Config: config}
	c, err := dialer.DialContext(within(t), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// All members were off for longer than their certificates live. Each makes itself
// another before it meets the others, who would not let it in with the old one,
// and nobody helps.
func TestAWholeClusterComesBackBeyondItsCertificates(t *testing.T) {
	const life = 6 * time.Second
	members := threeOf(t, func(o *Options) { o.Config.CertTTL, o.limit = life, stopLimit })
	if err := members[0].asked("before", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := members[0].client.Put(within(t), "kept", "x"); err != nil {
		t.Fatal(err)
	}
	client := clients{map[string]*tls.Config{"of before": members[0].issue()}, members[0].roots()}
	var off []Options
	for _, l := range members {
		o := l.settings()
		o.Config.CertTTL = time.Hour
		off = append(off, o)
	}
	for _, l := range members {
		l.stop()
	}
	for _, l := range members {
		_ = l.fall() // the last ones have nobody to hand leadership to
	}
	<-time.After(life + 2*time.Second) // there is no other way to be late
	for n := range members {
		members[n] = begin(t, off[n])
	}
	for _, l := range members {
		l.reports(func(s *admin.StatusResponse) error {
			if s.Raft.Leader == 0 {
				return errors.New("no leader")
			}
			return nil
		})
		if err := l.asked("by "+l.d.config().Name, "x"); err != nil {
			t.Errorf("%s: %v", l.d.config().Name, err)
		}
		r, err := l.client.Get(within(t), "kept")
		if err != nil || len(r.Kvs) != 1 {
			t.Errorf("%s: %v, %v", l.d.config().Name, r, err)
		}
	}
	if err := client.greet(members); err != nil {
		t.Error(err)
	}
	for _, l := range members { // what was made without a quorum is recorded once there is one
		serial := l.d.pki.Certificates()[2].SerialNumber.String()
		l.reports(func(*admin.StatusResponse) error {
			raw, err := l.d.machine.LedgerGet(time.Now(), "pki/x509_certs", []byte(serial))
			if err == nil && raw == nil {
				err = fmt.Errorf("certificate %s is not recorded", serial)
			}
			return err
		})
	}
}
