// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// health asks the ca door of a member.
func (l *life) health(address string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.d.pki.Bundle())
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true}}
	answer, err := c.Get("https://" + address + "/health")
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"ok"`)) {
		err = fmt.Errorf("%s %s", answer.Status, body)
	}
	return err
}

func TestTheCADoorComesMovesAndGoes(t *testing.T) {
	r := beginReloading(t, options(t, shortDir(t)))
	if r.d.doors.ca() != nil || r.d.doorAddresses().Ca != "" {
		t.Fatal("a member that nobody reaches has a ca door")
	}
	for _, listen := range []string{"127.0.0.1:0", "localhost:0"} {
		if o := r.with(func(c *Config) { c.ListenCA = listen }); o.err != nil || len(o.changed) != 1 || o.waiting != nil {
			t.Fatalf("%+v", o)
		}
		if err := r.health(r.d.doorAddresses().Ca); err != nil {
			t.Errorf("at %s: %v", listen, err)
		}
	}
	last := r.d.doorAddresses().Ca
	if o := r.with(func(c *Config) { c.ListenCA = "" }); o.err != nil || r.d.doorAddresses().Ca != "" {
		t.Errorf("%+v, the door is at %q", o, r.d.doorAddresses().Ca)
	}
	if err := r.until(func() error {
		if r.health(last) == nil {
			return fmt.Errorf("%s still answers", last)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestWhoMayWriteNothingElseStillSeesTheCA(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.ListenCA = "127.0.0.1:0"
	r := beginReloading(t, o)
	if err := r.health(r.d.doors.ca()[0].Addr().String()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.said.String(), " ca=127.0.0.1:") {
		t.Errorf("the log does not tell of it: %s", r.said.String())
	}
}
