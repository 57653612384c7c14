// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cleatd/cleat/state"
)

// protocols is our order of preference, and ours is what counts: a Go server
// takes the first of its own list that the client offers. gRPC clients offer
// only h2, curl and browsers h2 and http/1.1; so gRPC comes to grpc's own
// transport and everything else to net/http, without looking at a byte.
var protocols = []string{"http/1.1", "h2"}

// ServeTLS serves a TCP listener over TLS until Stop, and closes it. The
// configuration says which certificates are shown and demanded; a connection
// that ends its handshake without a client certificate is refused whatever the
// configuration says. ServeTLS returns nil after Stop, otherwise why the
// listener can no longer be used.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	config = withProtocols(config)
	return s.serve(l, func(c net.Conn) { s.admitTLS(c, config) })
}

// withProtocols returns a copy that negotiates our protocols, also where the
// configuration is made for each connection. The copy of such a one is kept as
// long as the same is returned.
func withProtocols(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = protocols
	choose := config.GetConfigForClient
	if choose == nil {
		return config
	}
	type pair struct{ from, to *tls.Config }
	var last atomic.Pointer[pair]
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello)
		if err != nil || chosen == nil {
			return chosen, err
		}
		if p := last.Load(); p != nil && p.from == chosen {
			return p.to, nil
		}
		to := chosen.Clone()
		to.NextProtos = protocols
		last.Store(&pair{chosen, to})
		return to, nil
	}
	return config
}

func (s *Server) admitTLS(raw net.Conn, config *tls.Config) {
	ctx, cancel := context.WithTimeout(s.hall.shut, handshakeLimit)
	defer cancel()
	heard, err := s.firstWord(raw)
	c := tls.Server(heard, config)
	if err == nil {
		err = c.HandshakeContext(ctx)
	}
	connection := c.ConnectionState()
	if err == nil && len(connection.PeerCertificates) == 0 {
		err = errNoCertificate
	}
	if err != nil {
		s.refuseTLS(raw, err)
		return
	}
	who := &caller{
		identity: state.Identity{Name: connection.PeerCertificates[0].Subject.CommonName},
		account:  s.fair.open(&s.fair.network, 1),
	}
	in := &conn{Conn: c, caller: who}
	if !s.welcome(in, raw, connection.PeerCertificates[0]) {
		s.refuseTLS(raw, errRevoked)
		_ = in.Close() // it was not served
		return
	}
	if connection.NegotiatedProtocol == "h2" {
		s.network.give(in)
		return
	}
	s.toWeb(in)
}

// firstWord waits until a client has said something, which a stop does not wait
// for as long as for a handshake that goes on. What it returns gives the bytes
// read once more.
func (s *Server) firstWord(c net.Conn) (net.Conn, error) {
	_ = c.SetReadDeadline(time.Now().Add(handshakeLimit)) // a closed connection fails at the read
	unhook := context.AfterFunc(s.hall.word, func() { _ = c.Close() })
	var head [5]byte // a record's header, by which TLS begins to read
	n, err := c.Read(head[:])
	unhook()
	_ = c.SetReadDeadline(time.Time{}) // likewise
	return &replay{c, head[:n]}, err
}

// refuseTLS counts and logs a handshake that failed, once. In TLS 1.3 a client
// without the right certificate has finished its own side by then and learns
// of the refusal only when it reads, so this line is where to look.
func (s *Server) refuseTLS(raw net.Conn, err error) {
	defer raw.Close()
	if s.hall.shut.Err() != nil || s.hall.word.Err() != nil && errors.Is(err, net.ErrClosed) {
		return // it was sent away
	}
	reason := reasonOf(err)
	s.metrics.tlsRefused.WithLabelValues(reason).Inc()
	if remote := raw.RemoteAddr().String(); s.config.Refused != nil {
		s.config.Refused(reason, remote, err)
	} else {
		s.log.Warn("tls: connection refused", "reason", reason, "remote", remote, "err", err)
	}
	if reason == "plaintext" {
		_, _ = io.WriteString(raw, plaintextAnswer) // a courtesy to curl
	}
}

const plaintextAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n" +
	"This port speaks TLS and demands a client certificate: use https with --cacert, --cert and --key.\n"

var errNoCertificate = errors.New("tls: client didn't provide a certificate")

// reasonOf names the cause of a failed handshake in one word. An error of the
// configuration's own checks names itself.
func reasonOf(err error) string {
	var (
		named     interface{ Reason() string }
		record    tls.RecordHeaderError
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		verify    *tls.CertificateVerificationError
		network   *net.OpError
	)
	switch {
	case errors.As(err, &named):
		return named.Reason()
	case errors.As(err, &record):
		return "plaintext"
	case errors.As(err, &authority):
		return "unknown_authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired"
	case errors.As(err, &verify), errors.As(err, &invalid):
		return "bad_certificate"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return "closed"
	// crypto/tls has no type for this one; a test holds the text in place.
	case strings.Contains(err.Error(), errNoCertificate.Error()):
		return "no_certificate"
	case errors.As(err, &network) && network.Op == "remote error":
		return "client_refused"
	case errors.As(err, &network):
		return "closed"
	}
	return "protocol"
}
