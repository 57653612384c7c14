// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/credentials"

	"github.com/cleatd/cleat/client"
)

// trust is what etcdctl's flags say of TLS beside the files.
type trust struct {
	always bool   // TLS to addresses without a scheme, also without files
	blind  bool   // whoever answers is believed to be the member
	name   string // what the member's certificate must be made out to; empty: the address
}

// askedTrust warns of a check that is left out: only the script's author knows
// whether it matters.
func askedTrust(c *cli.Context) trust {
	t := trust{always: !c.Bool("insecure-transport"), blind: c.Bool("insecure-skip-tls-verify")}
	if !c.Bool("insecure-discovery") {
		t.name = c.String("discovery-srv")
	}
	if t.blind {
		note(c, "with --insecure-skip-tls-verify whoever answers is taken for the member: --cacert FILE, which cleatctl cert issue writes, does without it")
	}
	return t
}

// secured tells whether TLS is spoken with an endpoint.
func (d door) secured(endpoint string) bool {
	if plain(endpoint) {
		return false
	}
	return d.files != (client.Config{}) || d.trust.always || d.trust.blind || strings.HasPrefix(endpoint, "https://")
}

// credentials are those for gRPC.
func (d door) credentials() (credentials.TransportCredentials, error) {
	if d.trust.blind {
		config, err := d.tls()
		return credentials.NewTLS(config), err
	}
	certificates, err := d.files.Credentials()
	if err != nil {
		return nil, explainFiles(err)
	}
	if d.trust.name == "" {
		return certificates, nil
	}
	//lint:ignore SA1019 gRPC's other way is a dialed authority, which all calls would show
	return certificates, certificates.OverrideServerName(d.trust.name)
}

// tls is for one connection that gRPC does not make.
func (d door) tls() (*tls.Config, error) {
	config, err := d.files.TLS()
	if err != nil {
		return nil, explainFiles(err)
	}
	config.ServerName, config.InsecureSkipVerify = d.trust.name, d.trust.blind
	return config, nil
}

func explainFiles(err error) error {
	return fmt.Errorf("%w: cleatctl cert issue NAME, typed on a member, makes the three files", err)
}
