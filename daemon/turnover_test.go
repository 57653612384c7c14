// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"regexp"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/cleatd/cleat/admin"
)

// Certificates of seconds end while each member is asked without a pause: no
// request may fail, and no connection between members may live to the end of
// its certificate.
func TestNoRequestFailsWhileCertificatesTurnOver(t *testing.T) {
	const lives = 3
	members := threeOf(t, func(o *Options) { o.Config.CertTTL = 18 * time.Second })
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
	members[0].reports(func(*admin.StatusResponse) error {
		fewest := lives + 1
		for _, l := range members {
			fewest = min(fewest, len(l.certificates(had)))
		}
		if fewest <= lives {
			return fmt.Errorf("the certificates were %v", had)
		}
		return nil
	})
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
