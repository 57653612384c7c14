// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strings"
	"testing"
)

// Where systemd holds the doors to the network and nobody has said what to advertise,
// members and clients are told an address that they can dial, and whose certificate
// is good. The machines have no way but to one another. Trixie is enough: systemd
// hands over sockets in both releases, and the rest is cleatd's.
func TestDoorsThatSystemdHoldsAreToldWithAnAddress(t *testing.T) {
	n := newNetwork(t)
	host, guest := install(t, trixie, "host", n.wire()), install(t, trixie, "guest", n.wire())
	for _, m := range []*machine{host, guest} {
		m.dpkg(newest)
		m.run("systemctl", "enable", "--now", "cleatd-net.socket")
	}
	line := host.run("cleatctl", "invite")
	if !strings.HasSuffix(line, " 10.0.0.1:2380") {
		t.Errorf("invite says %q", line)
	}
	guest.sh(line)
	members := []*machine{host, guest}
	healthy(t, members)
	list := guest.run("cleatctl", "member", "list")
	for _, m := range members {
		want(t, list, "https://"+m.port.address+":2380, https://"+m.port.address+":2379")
	}
	host.run("cleatctl", "put", "foo", "bar")
	guest.sh("cleatctl cert issue app --out app")
	if said := guest.run("etcdctl", "--endpoints", "https://10.0.0.1:2379", "--cacert", "app/ca.crt", "--cert", "app/app.crt", "--key", "app/app.key", "get", "foo"); said != "foo\nbar" {
		t.Errorf("got %q", said)
	}
	host.reboot()
	healthy(t, members)
}
