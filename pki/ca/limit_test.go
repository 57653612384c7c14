// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestABucketGivesWhatItsRateSaysAndNoMore(t *testing.T) {
	var b bucket
	now := time.Now()
	given := 0
	for range 1000 {
		if b.take(now, 5, burst) {
			given++
		}
	}
	if given != 5*burst {
		t.Errorf("gave %d at once, want %d", given, 5*burst)
	}
	given = 0
	for range 1000 {
		if b.take(now.Add(2*time.Second), 5, burst) {
			given++
		}
	}
	if given != 10 {
		t.Errorf("gave %d for two seconds, want 10", given)
	}
}

func TestOneAddressDoesNotTakeTheRoomOfOthers(t *testing.T) {
	s := one(t)
	g, now := s.guests, time.Now()
	loud, quiet := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	in := 0
	for range 10 * maxGuestsEach {
		if g.enter(loud, now) {
			in++
		}
	}
	if in != maxGuestsEach || !g.enter(quiet, now) {
		t.Errorf("%d of one address are in, and another's first is not", in)
	}
	for range in {
		g.leave(loud)
	}
	g.leave(quiet)
	if g.here != 0 || g.known[loud].here != 0 {
		t.Errorf("%d are in after all have left", g.here)
	}
	asked := 0
	for range 1000 {
		if g.request(loud, false, now) {
			asked++
		}
	}
	if asked != requestsEach*burst {
		t.Errorf("one address was answered %d times at once", asked)
	}
}

func TestAddressesAreForgottenAndAWholeNetworkIsOne(t *testing.T) {
	g, now := one(t).guests, time.Now()
	g.request(netip.MustParseAddr("192.0.2.1"), false, now)
	g.request(netip.MustParseAddr("192.0.2.2"), false, now.Add(2*forgotten+time.Second))
	if len(g.known) != 1 {
		t.Errorf("%d addresses are known", len(g.known))
	}
	if addressOf("[2001:db8::1]:1") != addressOf("[2001:db8::ffff]:2") || addressOf("[2001:db8::1]:1") == addressOf("[2001:db8:0:1::1]:1") {
		t.Error("a /64 is one customer's")
	}
	if addressOf("[::ffff:192.0.2.1]:1") != netip.MustParseAddr("192.0.2.1") {
		t.Error("an IPv4 address is one however it is written")
	}
}

func TestStrangersWhoSayNothingHoldNoTurn(t *testing.T) {
	s := one(t)
	for range maxGuestsEach - 1 {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	if code, text := s.ask(t, nil, "/health", nil); code != http.StatusOK {
		t.Errorf("beside them: %d %s", code, text)
	}
	if n := len(s.guests.turns); n != 0 {
		t.Errorf("%d turns are held", n)
	}
}

func TestAHandshakeThatBreaksOffGivesItsTurnBack(t *testing.T) {
	s := one(t)
	for range 20 {
		_, err := tls.Dial("tcp", s.address, &tls.Config{MinVersion: tls.VersionTLS13}) // which does not trust it
		if err == nil {
			t.Fatal("an unknown root was trusted")
		}
	}
	if code, text := s.ask(t, nil, "/health", nil); code != http.StatusOK {
		t.Errorf("after them: %d %s", code, text)
	}
}

func TestTooManyRequestsAreToldToWait(t *testing.T) {
	s := one(t)
	for n := 0; ; n++ {
		r := httptest.NewRequest(http.MethodGet, "/health", nil)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests {
			if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "rateLimited") {
				t.Errorf("told %v %s", w.Header(), w.Body)
			}
			return
		}
		if n > requestsEach*burst*10 {
			t.Fatal("nobody was refused")
		}
	}
}

func TestValidationGoesOnlyWhereItMay(t *testing.T) {
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "secret of the machine") // the validator is gone
	}))
	defer secret.Close()
	to := http.RedirectHandler(secret.URL, http.StatusFound)
	away := httptest.NewServer(to)
	defer away.Close()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		policy Policy
		url    string
		want   string
	}{
		"loopback":                     {Policy{}, secret.URL, "acme-allow does not have it"},
		"loopback by name":             {Policy{}, strings.Replace(secret.URL, "127.0.0.1", "localhost", 1), "acme-allow does not have it"},
		"loopback in IPv6's form":      {Policy{}, strings.Replace(secret.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), "acme-allow does not have it"},
		"any address of this machine":  {Policy{}, strings.Replace(secret.URL, "127.0.0.1", "0.0.0.0", 1), "acme-allow does not have it"},
		"link-local":                   {Policy{}, "http://169.254.169.254/", "acme-allow does not have it"},
		"denied though allowed":        {Policy{Allow: loopback, Deny: loopback}, secret.URL, "acme-deny"},
		"a redirect to another port":   {Policy{Allow: loopback}, away.URL, "redirect"},
		"what is no key authorization": {Policy{Allow: loopback}, secret.URL, "no key authorization"},
	} {
		f := &fetcher{policy: func() *Policy { return &c.policy }, turns: make(chan struct{}, 1)}
		answer, err := f.within(t.Context()).Get(c.url)
		if err == nil {
			_ = answer.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := &fetcher{policy: func() *Policy { return &Policy{Allow: loopback} }, turns: make(chan struct{})}
	if _, err := full.within(t.Context()).Get(secret.URL); !errors.Is(err, errElsewhere) {
		t.Errorf("more than there are turns for: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	f := &fetcher{policy: func() *Policy { return &Policy{Allow: loopback} }, turns: make(chan struct{}, 1)}
	if _, err := f.within(over).Get(secret.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("for one who is gone: %v", err)
	}
}

func TestNamesAreReadAsTheyAreMeant(t *testing.T) {
	n, err := ParseNames([]string{"Web.Example.Org", "*.example.internal.", "10.0.0.0/8", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"web.example.org": true, "WEB.example.org.": true, "db.web.example.org": false, "a.example.internal": true,
		"a.b.example.internal": true, "example.internal": false, ".example.internal": false, "10.1.2.3": true,
		"::ffff:10.1.2.3": true, "11.0.0.1": false, "::1": true, "": false,
	} {
		if n.allowed(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	for _, bad := range []string{"*", "*.", "a b", "*.*.org", "http://x", "10.0.0.0/99"} {
		if _, err := ParseNames([]string{bad}); !errors.Is(err, ErrNames) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
