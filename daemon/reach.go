// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Where others come to this member: what member lists tell, and what its
// certificate must carry.

// clientURLs are where clients reach this member, as a member list tells them.
func (d *Daemon) clientURLs() []string { return d.urls(d.doors.client()) }

// peerURLs are where other members reach this one.
func (d *Daemon) peerURLs() []string { return d.urls(d.doors.peer()) }

func (d *Daemon) urls(door []*lasting) []string {
	var urls []string
	for _, l := range door {
		if address := d.reachable(l); address != "" {
			urls = append(urls, "https://"+address)
		}
	}
	return urls
}

// peerAddress is where other members reach this one, "" if they do not.
func (d *Daemon) peerAddress() string {
	for _, l := range d.doors.peer() {
		return d.reachable(l)
	}
	return ""
}

// reachable is the host and port by which others come to a door.
func (d *Daemon) reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "" // not a TCP address: nobody could dial it
	}
	switch advertised := d.advertised(); {
	case advertised != "":
		host = advertised
	case everywhere(l.Addr().String()):
		host = ownAddress()
	}
	return net.JoinHostPort(trimBrackets(host), port)
}

// told is the host that others are told of a member with these settings: the one
// that is advertised, else the machine's own if a door listens everywhere, else
// none.
func (d *Daemon) told(c *Config) string {
	if advertised := d.advertisedBy(c); advertised != "" {
		return advertised
	}
	addresses := []string{c.clientAddress(""), c.peerAddress(""), c.caAddress("")}
	for _, l := range slices.Concat(d.doors.client(), d.doors.peer(), d.doors.ca()) {
		addresses = append(addresses, l.Addr().String())
	}
	if slices.ContainsFunc(addresses, everywhere) {
		return ownAddress()
	}
	return ""
}

// everywhere says whether a door listens at all addresses of the machine, which
// nobody could dial as they are.
func everywhere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// ownAddress is the address with which this machine goes to others: by its default
// route, else to a network that it is in, else to itself.
func ownAddress() string {
	// These are nobody's (RFC 5737, 3849).
	for _, far := range []string{"192.0.2.1", "2001:db8::1"} {
		if host := addressTo(far); host != "" {
			return host
		}
	}
	text, err := os.ReadFile("/proc/net/route") // netlink tells more, but not to who is shut in
	if err != nil {
		return "127.0.0.1"
	}
	for line := range strings.Lines(string(text)) {
		near := inNetwork(line)
		if host := addressTo(near); near != "" && host != "" {
			return host
		}
	}
	return "127.0.0.1"
}

// inNetwork is an address of the network that a line of the kernel's table names,
// "" for one that is none.
func inNetwork(line string) string {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] == "lo" {
		return ""
	}
	network, err := strconv.ParseUint(f[1], 16, 32)
	if err != nil {
		return "" // the headline
	}
	var ip [4]byte
	binary.NativeEndian.PutUint32(ip[:], uint32(network)) // as the kernel prints it
	ip[3] |= 1
	return net.IP(ip[:]).String()
}

// addressTo is this machine's address in what it would send to another one. Nothing
// is sent.
func addressTo(host string) string {
	c, err := net.Dial("udp", net.JoinHostPort(host, "9"))
	if err != nil {
		return ""
	}
	own, _, err := net.SplitHostPort(c.LocalAddr().String())
	_ = c.Close() // nothing was said
	if err != nil {
		return ""
	}
	return own
}
