// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/dns/dnsmessage"
)

// serving is a DNS server that knows these SRV records, each as "host:port".
func serving(t *testing.T, known map[string][]dnsmessage.SRVResource) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			var m dnsmessage.Message
			if err != nil || m.Unpack(buffer[:n]) != nil {
				continue
			}
			question := m.Questions[0]
			m.Response, m.Additionals = true, nil
			for _, each := range known[question.Name.String()] {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 60}, Body: &each,
				})
			}
			if len(m.Answers) == 0 {
				m.RCode = dnsmessage.RCodeNameError
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestMembersAreFoundByDNSAsEtcdsToolsFindThem(t *testing.T) {
	host := func(name string) dnsmessage.SRVResource {
		return dnsmessage.SRVResource{Port: 2379, Target: dnsmessage.MustNewName(name)}
	}
	dns := serving(t, map[string][]dnsmessage.SRVResource{
		"_etcd-client-ssl._tcp.example.com.":      {host("one.example.com.")},
		"_etcd-client._tcp.example.com.":          {host("two.example.com.")},
		"_etcd-client-ssl-blue._tcp.example.com.": {host("three.example.com.")},
		"_etcd-client._tcp.example.net.":          {host("four.example.net.")},
	})
	for line, want := range map[string]string{
		"-d example.com": "https://one.example.com:2379 http://two.example.com:2379",
		"-d example.com --insecure-discovery=false": "https://one.example.com:2379",
		"-d example.com --discovery-srv-name blue":  "https://three.example.com:2379",
		"-d example.net --endpoints h:1":            "http://four.example.net:2379", // DNS is stronger, as in etcdctl
		"-d example.net --insecure-discovery=false": "",
		"-d example.org":                            "",
	} {
		var got []string
		var err error
		app := newApp(nil, io.Discard, io.Discard)
		for _, command := range app.Commands {
			command.Action = func(c *cli.Context) error { got, err = discover(c, dns); return nil }
		}
		arranged, wrong := arrange(app, append([]string{"cleatctl", "get"}, strings.Fields(line)...))
		if wrong != nil || app.Run(arranged) != nil {
			t.Fatalf("%s: %v", line, wrong)
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%s finds %q, %v; want %q", line, got, err, want)
		}
	}
}
