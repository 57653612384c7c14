// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The story that the README tells. Then three things happen to the cluster
// while a program elsewhere goes on writing, and nothing that it was told is
// lost. Trixie is enough: what the network and the members do does not depend
// on the systemd below.
func TestThreeMachinesInAMinute(t *testing.T) {
	n := newNetwork(t)
	members := make([]*machine, 3)
	for i, name := range []string{"one", "two", "three"} {
		members[i] = install(t, trixie, name, n.wire())
		members[i].bring(deb(t, newest))
	}
	client := install(t, trixie, "elsewhere", n.wire())
	s := tellFrom(t)
	form(s, members)
	useElsewhere(s, members, client)
	s.finish()

	endpoints := make([]string, len(members))
	for i, m := range members {
		endpoints[i] = "https://" + m.port.address + ":2379"
	}
	bundle := trust(t, client, "app")
	start := func(t *testing.T) *load {
		return begin(t, 8, func(int) *clientv3.Client { return client.remote(bundle, endpoints...) })
	}
	t.Run("no request fails while members restart or change their version one by one", func(t *testing.T) {
		load := start(t)
		for _, change := range []func(m *machine){
			func(m *machine) { m.run("systemctl", "restart", "cleatd") },
			func(m *machine) { m.dpkg(older) },
			func(m *machine) { m.dpkg(newest) },
		} {
			for _, m := range members {
				change(m)
				healthy(t, members)
				load.flows()
			}
		}
		t.Logf("%d puts", load.check(client.remote(bundle, endpoints...)))
		load.unfailing()
	})
	t.Run("a power loss of the leader loses nothing", func(t *testing.T) {
		load := start(t)
		leader := leading(t, members)
		leader.cutPower()
		load.flows()
		leader.start()
		healthy(t, members)
		load.flows()
		load.check(client.remote(bundle, endpoints...))
	})
	t.Run("a cut network loses nothing", func(t *testing.T) {
		load := start(t)
		heal := leading(t, members).port.cut()
		load.flows()
		heal()
		healthy(t, members)
		load.flows()
		load.check(client.remote(bundle, endpoints...))
	})
}

// form makes a cluster of machines that have the package and nothing else.
func form(s *telling, members []*machine) {
	s.t.Helper()
	for _, m := range members {
		m.run("dpkg", "-i", filepath.Base(deb(s.t, newest)))
		fmt.Fprintf(&s.text, "%s# dpkg -i %s\n", m.name, filepath.Base(deb(s.t, newest)))
		s.types(m, fmt.Sprintf(`sed -i 's/^#* *advertise = .*/advertise = "%s"/' /etc/cleat/cleatd.toml`, m.port.address))
	}
	line := strings.Fields(s.types(members[0], "cleatctl invite --uses 2"))
	for _, m := range members[1:] {
		s.types(m, strings.Join(line, " "))
	}
	healthy(s.t, members)
	s.types(members[2], "cleatctl member list")
	s.types(members[1], "cleatctl put foo bar")
}

// useElsewhere goes to the cluster from a machine that has nothing of ours but
// three files.
func useElsewhere(s *telling, members []*machine, client *machine) {
	s.t.Helper()
	s.types(members[0], "cleatctl cert issue app --out app")
	for _, name := range []string{"ca.crt", "app.crt", "app.key"} {
		text, err := os.ReadFile(members[0].path("/root/app/" + name))
		if err != nil {
			s.t.Fatal(err)
		}
		client.put("/root/app/"+name, string(text))
	}
	fmt.Fprintln(&s.text, "\n# The folder goes to a machine that has Debian's etcdctl and nothing of cleat.")
	s.types(client, "etcdctl --endpoints https://10.0.0.3:2379 --cacert app/ca.crt --cert app/app.crt --key app/app.key get foo")
}

// trust is the bundle of a client on a machine, for a program.
func trust(t *testing.T, m *machine, name string) *tls.Config {
	t.Helper()
	dir := m.path("/root/"+name) + "/"
	pair, err := tls.LoadX509KeyPair(dir+name+".crt", dir+name+".key")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := os.ReadFile(dir + "ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		t.Fatalf("%sca.crt has no certificate", dir)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool}
}

// healthy waits until every member votes and answers.
func healthy(t *testing.T, members []*machine) {
	t.Helper()
	for _, m := range members {
		eventually(t, m.name+" votes", func() error {
			list, status := m.try("cleatctl", "member", "list"), m.try("cleatctl", "status")
			votes := strings.Contains(status.out, "  leads, ") || strings.Contains(status.out, "  follows ")
			if strings.Count(list.out, ", started, ") != len(members) || strings.Contains(list.out, ", true") || !votes {
				return fmt.Errorf("members %v\nstatus %v", list, status)
			}
			return nil
		})
		eventually(t, m.name+" answers", func() error {
			if s := m.try("cleatctl", "endpoint", "health"); s.code != 0 {
				return fmt.Errorf("%v", s)
			}
			return nil
		})
	}
}

// leading is the leader.
func leading(t *testing.T, members []*machine) *machine {
	t.Helper()
	var leader *machine
	eventually(t, "one leads", func() error {
		for _, m := range members {
			if strings.Contains(m.run("cleatctl", "status"), "  leads, ") {
				leader = m
				return nil
			}
		}
		return context.Canceled
	})
	return leader
}
