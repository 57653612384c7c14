// SPDX-License-Identifier: Apache-2.0

package pki

import "crypto/tls"

// ClientDoor returns what the client door serves with: this member's
// certificate as it is at each handshake, and a demand for a certificate of
// profile client or peer. A handshake that is refused fails with a [*Refusal],
// or for what crypto/tls checks itself with an error that [RefusalReason] can
// name. The caller may set NextProtos.
func (a *Authority) ClientDoor() *tls.Config { return a.door(a.verifyClient) }

// PeerDoor is like ClientDoor, for members of this cluster only.
func (a *Authority) PeerDoor() *tls.Config { return a.door(a.verifyPeer) }

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
