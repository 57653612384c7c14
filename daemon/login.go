// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net/http"

	"github.com/cleatd/cleat/pki/ca"
)

// logins answers remote users who log in or renew, at the ca door.
func (d *Daemon) logins() http.Handler {
	return ca.NewLogin(d.pki, ca.Places{Endpoints: d.clientEndpoints}, d.log)
}

// clientEndpoints are the client doors of all members, as far as this one knows
// them.
func (d *Daemon) clientEndpoints() []string {
	var urls []string
	for _, row := range d.machine.Members() {
		if !row.Reserved {
			urls = append(urls, row.ClientURLs...)
		}
	}
	return urls
}

// loginAddress is where they do, "" if this member has no ca door.
func (d *Daemon) loginAddress() string {
	for _, l := range d.doors.ca() {
		return d.reachable(l)
	}
	return ""
}
