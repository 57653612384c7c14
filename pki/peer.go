// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// PeerDialer returns what a connection to another member's peer door is opened
// with: it presents this member's certificate as it is at each handshake, and
// accepts that member only; 0 is any member of the cluster. Host names are not
// looked at, since the member's id says who it is. A handshake that this side
// refuses fails with a [*Refusal]. The caller sets NextProtos.
func (a *Authority) PeerDialer(member uint64) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it all, at every handshake
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return a.certificate(nil)
		},
		VerifyConnection: func(c tls.ConnectionState) error {
			if err := a.verifyPeer(c); err != nil || member == 0 {
				return err
			}
			leaf := c.PeerCertificates[0]
			if id, _ := memberOf(leaf); id != member {
				return refuse(leaf, ReasonBadCertificate, "is not of member "+hexID(member))
			}
			return nil
		},
	}
}

// MemberOf returns the member at the other end of a connection that came in by
// the peer door or was made by a dialer. The error is ErrNotMember if its
// certificate is no member's, or if it presented none.
func MemberOf(c tls.ConnectionState) (uint64, error) {
	leaf, err := presented(c)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotMember, err)
	}
	id, err := memberOf(leaf)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotMember, err)
	}
	return id, nil
}

// memberURI is what makes a certificate a member's.
func memberURI(cluster, member uint64) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: hexID(cluster), Path: "/member/" + hexID(member)}
}

// parseMemberURI takes apart what memberURI made, and nothing else.
func parseMemberURI(uri *url.URL) (cluster, member uint64, ok bool) {
	id, _ := strings.CutPrefix(uri.Path, "/member/")
	cluster, clusterErr := strconv.ParseUint(uri.Host, 16, 64)
	member, memberErr := strconv.ParseUint(id, 16, 64)
	ok = clusterErr == nil && memberErr == nil && member != 0 && memberURI(cluster, member).String() == uri.String()
	return cluster, member, ok
}

// identify returns whose certificate it is. Who signed it is not asked.
func identify(leaf *x509.Certificate) (cluster, member uint64, err error) {
	if len(leaf.URIs) == 0 {
		return 0, 0, refuse(leaf, ReasonWrongUsage, "is not a member's")
	}
	cluster, member, ok := parseMemberURI(leaf.URIs[0])
	if len(leaf.URIs) != 1 || !ok {
		return 0, 0, refuse(leaf, ReasonBadCertificate, "does not name a member")
	}
	return cluster, member, nil
}

func memberOf(leaf *x509.Certificate) (uint64, error) {
	_, member, err := identify(leaf)
	return member, err
}

// checkMember accepts a certificate of a member of this cluster that has not
// been removed.
func (a *Authority) checkMember(leaf *x509.Certificate) error {
	cluster, member, err := identify(leaf)
	if err != nil {
		return err
	}
	if cluster != a.config.ClusterID {
		return refuse(leaf, ReasonBadCertificate, "is not of a member of this cluster")
	}
	if a.config.Removed != nil && a.config.Removed(member) {
		return refuse(leaf, ReasonRevoked, "is of a member that was removed from the cluster")
	}
	return nil
}
