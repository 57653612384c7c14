// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"testing"
)

// A door at all addresses is told as one that can be dialed, and the member's
// certificate is good there.
func TestADoorThatListensEverywhereIsToldWithAnAddress(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.ListenClient, o.Config.ListenPeer = "[::]:0", "0.0.0.0:0"
	l := begin(t, o)
	for door, urls := range map[string][]string{"client": l.d.clientURLs(), "peer": l.d.peerURLs()} {
		if len(urls) != 1 {
			t.Fatalf("the %s door is told as %q", door, urls)
		}
		u, err := url.Parse(urls[0])
		if err != nil {
			t.Fatal(err)
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || ip.IsUnspecified() || u.Hostname() != ownAddress() {
			t.Errorf("the %s door is told as %s, and this machine is %s", door, u.Host, ownAddress())
		}
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Errorf("nobody can come to the %s door: %v", door, err)
			continue
		}
		_ = c.Close()
	}
	leaf := shown(t, l.d.clientURLs()[0])
	if err := leaf.VerifyHostname(ownAddress()); err != nil {
		t.Error(err)
	}
}

func TestOwnAddressesAreReadFromTheKernelsTable(t *testing.T) {
	for line, want := range map[string]string{
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask": "",
		"eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0":     "10.0.0.1",
		"eth1\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0":     "192.168.2.1",
		"lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0":       "",
		"": "",
	} {
		if got := inNetwork(line); got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

// shown is the certificate that a door shows.
func shown(t *testing.T, at string) *x509.Certificate {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // it is looked at, not trusted
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}
