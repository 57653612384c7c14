// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cleatd/cleat/pki"
)

// Policy is what ACME may do.
type Policy struct {
	Names Names          // for which certificates are given
	Allow []netip.Prefix // where validation goes although it is loopback or link-local
	Deny  []netip.Prefix // where it does not go; stronger than Allow
}

// Names are those that ACME gives certificates for. The zero value is none.
type Names struct {
	exact    []string
	below    []string // with a dot before them: every name that ends so
	networks []netip.Prefix
}

// ErrNames means that a text says no names.
var ErrNames = errors.New("ca: not a name, a name with *. before it, an address or a network")

// ParseNames reads a list of host names, names such as *.example.internal (what is
// below it, at any depth), addresses and networks. The error is ErrNames.
func ParseNames(list []string) (Names, error) {
	var n Names
	for _, text := range list {
		name := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(text), "."))
		if network, err := parseNetwork(name); err == nil {
			n.networks = append(n.networks, network)
			continue
		}
		base, wild := strings.CutPrefix(name, "*.")
		if err := pki.CheckHosts(base); err != nil {
			return Names{}, fmt.Errorf("%w: %q", ErrNames, text)
		}
		if wild {
			n.below = append(n.below, "."+base)
		} else {
			n.exact = append(n.exact, base)
		}
	}
	return n, nil
}

// ParseNetworks reads a list of networks and addresses. The error is ErrNames.
func ParseNetworks(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		network, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no network such as 10.0.0.0/8", ErrNames, text)
		}
		out = append(out, network)
	}
	return out, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

func (n Names) empty() bool { return len(n.exact)+len(n.below)+len(n.networks) == 0 }

// allowed says whether ACME may give a certificate for a name or an address.
func (n Names) allowed(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if address, err := netip.ParseAddr(name); err == nil {
		return within(n.networks, address)
	}
	return slices.Contains(n.exact, name) ||
		slices.ContainsFunc(n.below, func(end string) bool { return strings.HasSuffix(name, end) && len(name) > len(end) })
}

// check looks at all names of a certificate, those included that no server has.
func (n Names) check(leaf *x509.Certificate) error {
	if len(leaf.EmailAddresses)+len(leaf.URIs) != 0 {
		return fmt.Errorf("%w: a server certificate has DNS names and addresses only", pki.ErrName)
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if leaf.Subject.CommonName != "" {
		names = append(names, leaf.Subject.CommonName)
	}
	for _, name := range names {
		if !n.allowed(name) {
			return fmt.Errorf("%w: acme-names does not allow %q", pki.ErrName, name)
		}
	}
	return nil
}

func within(networks []netip.Prefix, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

// stillAllowed refuses to renew what ACME was given for names that it may not have
// any more.
func (d *Door) stillAllowed(held *x509.Certificate) error {
	if !pki.GivenByACME(held) {
		return nil
	}
	return d.current().Names.check(held)
}
