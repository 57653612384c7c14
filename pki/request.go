// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxNameBytes = 64  // of a common name, by X.509's own limit
	maxHostNames = 100 // of one certificate
	minRSABits   = 2048
	maxRSABits   = 8192 // more, and crypto/tls refuses the handshake

	// memberPrefix begins the common name of every member's certificate, and of
	// no other, so that no user is ever mistaken for a member.
	memberPrefix = "member/"
)

// checkRequest returns what the request asks to be called, if a certificate of
// the profile may be given for it. Names that the profile does not know are
// left out.
func checkRequest(csr *x509.CertificateRequest, p Profile) (subject, error) {
	if err := checkHolder(csr); err != nil {
		return subject{}, err
	}
	switch p {
	case Client:
		return subject{name: csr.Subject.CommonName}, checkUser(csr.Subject.CommonName)
	case Server:
		return serverSubject(csr)
	case Peer:
		return subject{}, fmt.Errorf("%w: a member makes its peer certificate itself", ErrProfile)
	}
	return subject{}, fmt.Errorf("%w: %q is none of peer, client, server", ErrProfile, p)
}

// checkHolder checks the key of the request, and that the caller holds it.
func checkHolder(csr *x509.CertificateRequest) error {
	if csr == nil || csr.PublicKey == nil {
		return fmt.Errorf("%w: it has no public key", ErrRequest)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return nil
}

// checkKey lets through what TLS 1.3 speaks and nobody breaks.
func checkKey(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
		return fmt.Errorf("%w: ECDSA on %s; use P-256", ErrKey, k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("%w: RSA of %d bits; use %d to %d, or ECDSA P-256", ErrKey, bits, minRSABits, maxRSABits)
		}
		return nil
	}
	return fmt.Errorf("%w: %T; use ECDSA P-256", ErrKey, public)
}

// checkUser checks the name of a user, which a client certificate carries as
// its common name.
func checkUser(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the common name is empty", ErrName)
	case len(name) > maxNameBytes:
		return fmt.Errorf("%w: the common name has %d bytes, at most %d fit", ErrName, len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the common name %q is not UTF-8", ErrName, name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: the common name %q has characters that do not print", ErrName, name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: the common name %q begins or ends with a space", ErrName, name)
	case strings.HasPrefix(name, memberPrefix):
		return fmt.Errorf("%w: %q begins with %q, which is for members", ErrName, name, memberPrefix)
	}
	return nil
}

func serverSubject(csr *x509.CertificateRequest) (subject, error) {
	hosts := csr.DNSNames
	for _, ip := range csr.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	if len(hosts) == 0 {
		return subject{}, fmt.Errorf("%w: a server certificate needs a DNS name or an IP address", ErrName)
	}
	sans, err := checkHosts(hosts)
	if err != nil {
		return subject{}, err
	}
	name := sans[0]
	if len(name) > maxNameBytes {
		name = "" // the common name is a courtesy here; the names that count are beside it
	}
	return subject{name: name, sans: sans}, nil
}

// checkHosts returns the names and addresses in the form that a certificate
// carries, each once.
func checkHosts(hosts []string) ([]string, error) {
	if len(hosts) > maxHostNames {
		return nil, fmt.Errorf("%w: %d host names, at most %d fit", ErrName, len(hosts), maxHostNames)
	}
	seen := make(map[string]bool)
	var out []string
	for _, h := range hosts {
		h = strings.TrimSuffix(h, ".")
		if ip, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
			h = ip.Unmap().WithZone("").String()
		} else if !isHostName(h) {
			return nil, fmt.Errorf("%w: %q is neither a host name nor an IP address", ErrName, h)
		}
		if !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out, nil
}

// isHostName accepts what resolvers do: dotted labels of letters, digits,
// hyphens and underscores. No wildcards.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInHostName) ||
			strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return true
}

func notInHostName(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// checkTTL returns the life of a certificate: what was asked for, or the
// default for zero.
func checkTTL(ttl, otherwise time.Duration) (time.Duration, error) {
	if ttl == 0 {
		ttl = otherwise
	}
	if ttl < minTTL || ttl > maxTTL {
		return 0, fmt.Errorf("%w: %v is not between %v and %v", ErrTTL, ttl, minTTL, maxTTL)
	}
	return ttl, nil
}
