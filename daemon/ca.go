// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net"
	"net/http"

	"github.com/cleatd/cleat/pki/ca"
)

// caAddress is where the ca door listens: as told, or on the advertised host. A
// member that nobody can reach needs none.
func (c *Config) caAddress(advertise string) string {
	if c.ListenCA != "" || advertise == "" {
		return c.ListenCA
	}
	return net.JoinHostPort(trimBrackets(advertise), "2381")
}

// acmePolicy is what ACME may do. The settings have been checked.
func (c *Config) acmePolicy() (p ca.Policy) {
	p.Names, _ = ca.ParseNames(c.ACMENames)
	p.Allow, _ = ca.ParseNetworks(c.ACMEAllow)
	p.Deny, _ = ca.ParseNetworks(c.ACMEDeny)
	return p
}

func (c *Config) acmeFaults() (found Faults) {
	_, names := ca.ParseNames(c.ACMENames)
	_, allow := ca.ParseNetworks(c.ACMEAllow)
	_, deny := ca.ParseNetworks(c.ACMEDeny)
	for _, f := range []struct {
		setting string
		err     error
	}{{"acme-names", names}, {"acme-allow", allow}, {"acme-deny", deny}} {
		if f.err != nil {
			found = append(found, Fault{Setting: f.setting, What: f.err.Error()})
		}
	}
	return found
}

func (d *Daemon) openCA() (err error) {
	d.ca, err = ca.New(ca.Config{
		Authority: d.pki, Version: d.version, Policy: d.config().acmePolicy(),
		More:   map[string]http.Handler{ca.LoginRoot: d.logins()},
		Logger: d.log, Registerer: d.registry,
	})
	return err
}

func (d *Daemon) serveCA(run context.Context, l *lasting) {
	d.keep(run, "door "+doorCA, func(ctx context.Context) error { return d.ca.Serve(ctx, l.lend()) })
}
