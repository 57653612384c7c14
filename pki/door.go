// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"slices"
)

// JoinProtocol is the ALPN protocol of a machine that has no certificate yet.
// On the peer door it is the only thing that such a machine can speak, so
// whatever else is served there is served to members.
const JoinProtocol = "cleat-join/1"

// ClientDoor returns what the client door serves with: this member's
// certificate as it is at each handshake, and a demand for a certificate of
// profile client or peer. A handshake that is refused fails with a [*Refusal],
// or for what crypto/tls checks itself with an error that [RefusalReason] can
// name. The caller may set NextProtos.
func (a *Authority) ClientDoor() *tls.Config { return a.door(a.verifyClient) }

// PeerDoor is like ClientDoor, for members of this cluster only. A connection
// that asks for JoinProtocol is let in without a certificate and gets nothing
// but that protocol, whatever NextProtos the caller sets.
func (a *Authority) PeerDoor() *tls.Config {
	door, join := a.door(a.verifyPeer), a.joinDoor()
	door.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, JoinProtocol) {
			return join, nil
		}
		return nil, nil // the door itself
	}
	return door
}

// joinDoor shows the root with the chain, for a machine that knows no more of
// the cluster than the root's digest: both roots while one takes the other's
// place, since the machine does not say which it knows.
func (a *Authority) joinDoor() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{JoinProtocol},
		ClientAuth: tls.NoClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			shown := a.current.Load().certificate
			shown.Certificate = slices.Clip(shown.Certificate)
			for _, root := range a.ca().roots {
				shown.Certificate = append(shown.Certificate, root.Raw)
			}
			return &shown, nil
		},
		SessionTicketsDisabled: true,
	}
}

// door demands a certificate and leaves the checking of it to verify, which
// knows its reasons. The names of our roots are not sent as a hint: a client
// with another CA's certificate would then send none, and be told that it has
// none. Session tickets are off, since no client of etcd's API keeps them.
func (a *Authority) door(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert,
		GetCertificate:         a.certificate,
		VerifyConnection:       verify,
		SessionTicketsDisabled: true,
	}
}

func (a *Authority) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &a.current.Load().certificate, nil
}
