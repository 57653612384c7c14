// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
)

// weakCSR asks for a certificate for an RSA key of 1024 bits, which crypto/rsa
// no longer makes.
const weakCSR = `-----BEGIN CERTIFICATE REQUEST-----
MIIBTzCBuQIBADAQMQ4wDAYDVQQDDAVhbGljZTCBnzANBgkqhkiG9w0BAQEFAAOB
jQAwgYkCgYEArv78WlJ8umPnq4q4lTwwn7yzyb0pxupMdhJwYMkcdhEYv9uHIaX7
GrQV/NoXo4JB/QZ7ljonfEGfKC6yIkQleD+IW4QJSIqGX+bf4eViOGLEigrYseNf
sHJp1lQlnybFQwMnHssTjTfGmUWy7OkTJErav28UM6RIOKZMybdB2oUCAwEAAaAA
MA0GCSqGSIb3DQEBCwUAA4GBAFyJYAG+vRmXkNBkcGuZVNjhVG078HXpAWNSjjFR
zyKH8uagJGbsK+1xr95PAFyNLMSuccRIOOZZclMAeD5tRrJGFK1rI5JVVz6Fyrhm
WyPuInS7YlnQlEbxBZNyc8Dwe/SssXpXAhC1DaA9l2L5DeDcYszWShEZ8onkUeyg
SaWZ
-----END CERTIFICATE REQUEST-----`

func weakRequest(t testing.TB) *x509.CertificateRequest {
	t.Helper()
	block, _ := pem.Decode([]byte(weakCSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestHostsAreTakenInOneFormEach(t *testing.T) {
	got, err := checkHosts([]string{"Green.", "10.0.0.1", "::ffff:10.0.0.1", "[::1]", "0:0::1", "fe80::1%eth0", "a_b"})
	want := []string{"Green", "10.0.0.1", "::1", "fe80::1", "a_b"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A request from anybody is refused with a reason or leads to a certificate
// that says no more than its profile allows.
func FuzzIssue(f *testing.F) {
	c := testConfig(f)
	a := open(f, c)
	key := newKey(f)
	for _, r := range []*x509.CertificateRequest{
		request(f, key, named("alice")),
		request(f, key, named("ali\x00ce")),
		request(f, key, x509.CertificateRequest{DNSNames: []string{"a.example.org", "*"}}),
		weakRequest(f),
	} {
		f.Add(r.Raw, "client")
		f.Add(r.Raw, "server")
	}
	f.Fuzz(func(t *testing.T, der []byte, profile string) {
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return
		}
		chain, err := a.Issue(t.Context(), csr, Profile(profile), 0)
		if err != nil {
			for _, expected := range []error{ErrRequest, ErrKey, ErrName, ErrTTL, ErrProfile} {
				if errors.Is(err, expected) {
					return
				}
			}
			t.Fatalf("unexpected error %v", err)
		}
		leaf := chain[0]
		if leaf.IsCA || len(leaf.URIs)+len(leaf.EmailAddresses) != 0 || len(leaf.ExtKeyUsage) != 1 ||
			strings.HasPrefix(leaf.Subject.CommonName, memberPrefix) {
			t.Fatalf("issued a certificate that says too much: %+v", leaf.Subject)
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add("green")
	f.Add("[fe80::1%eth0]")
	f.Add("*.example.org")
	f.Fuzz(func(t *testing.T, host string) {
		got, err := checkHosts([]string{host})
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		again, err := checkHosts(got)
		if err != nil || !slices.Equal(got, again) {
			t.Fatalf("%q became %q, which becomes %q, %v", host, got, again, err)
		}
	})
}
