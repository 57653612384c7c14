// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"syscall"
	"time"

	"github.com/smallstep/certificates/acme"
)

const (
	fetchLimit   = 10 * time.Second
	maxFetches   = 32  // at once
	maxFetched   = 512 // bytes; a key authorization has about 76
	maxRedirects = 3
)

// keyAuthorization is the only thing that a validation is told. Anything else
// would be shown to the caller, who may have no other way to what the member can
// reach.
var keyAuthorization = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}\.[A-Za-z0-9_-]{43}\s*$`)

var (
	errElsewhere = errors.New("ca: validation does not go there")
	errNotKept   = errors.New("ca: only http-01 is done here")
)

// fetcher fetches what http-01 validates. It follows names to their addresses
// itself and looks at each before it connects, so that no name and no redirect
// leads to where it must not go. Proxies are not used: they would resolve.
type fetcher struct {
	policy func() *Policy
	turns  chan struct{} // holds one for each that is under way
}

// validation is a fetcher for one request, since smallstep's client knows no context.
type validation func(url string) (*http.Response, error)

var _ acme.Client = validation(nil)

// within returns what ends with ctx.
func (f *fetcher) within(ctx context.Context) validation {
	return func(url string) (*http.Response, error) { return f.fetch(ctx, url) }
}

func (f *fetcher) fetch(ctx context.Context, url string) (*http.Response, error) {
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	default:
		return nil, fmt.Errorf("%w now: %d validations are under way; try again", errElsewhere, maxFetches)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := f.client().Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFetched))
	_ = response.Body.Close() // all that counts was read
	if err != nil {
		return nil, err
	}
	if response.StatusCode < http.StatusBadRequest && !keyAuthorization.Match(body) {
		return nil, fmt.Errorf("ca: what is there (code %d) is no key authorization", response.StatusCode)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// client keeps no connection: hardly a name is validated twice.
func (f *fetcher) client() *http.Client {
	dialer := net.Dialer{Timeout: fetchLimit, Control: f.control}
	return &http.Client{
		Timeout: fetchLimit,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // a redirect to what has no certificate yet, as RFC 8555 has it
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if port := r.URL.Port(); len(via) > maxRedirects || port != "" && port != "80" && port != "443" {
				return fmt.Errorf("%w: redirect %d leads to %s", errElsewhere, len(via), r.URL.Host)
			}
			return nil
		},
	}
}

// control is asked of every address before it is connected to.
func (f *fetcher) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errElsewhere, address)
	}
	return f.policy().reaches(at.Addr())
}

func (p *Policy) reaches(to netip.Addr) error {
	to = to.Unmap().WithZone("")
	switch {
	case within(p.Deny, to):
		return fmt.Errorf("%w: acme-deny has %s", errElsewhere, to)
	case within(p.Allow, to):
		return nil
	case to.IsLoopback(), to.IsLinkLocalUnicast(), to.IsLinkLocalMulticast(), to.IsInterfaceLocalMulticast(), to.IsMulticast(), to.IsUnspecified():
		return fmt.Errorf("%w: %s is loopback, link-local or multicast, and acme-allow does not have it", errElsewhere, to)
	}
	return nil
}

func (v validation) Get(url string) (*http.Response, error) { return v(url) }

func (validation) LookupTxt(string) ([]string, error) { return nil, errNotKept }

func (validation) TLSDial(_, _ string, _ *tls.Config) (*tls.Conn, error) { return nil, errNotKept }
