// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// Knock connects a machine that joins to a member's peer door. That it is a
// member of the token's cluster is known when Knock returns; the error is
// pki.ErrTokenDigest or pki.ErrClock if not, else it is the network's.
func Knock(ctx context.Context, address string, j *pki.Joining) (*tls.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", address, err)
	}
	conn := tls.Client(raw, j.TLS())
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // nothing was sent over it
		return nil, fmt.Errorf("greet the member at %s: %w", address, err)
	}
	return conn, nil
}

// AskIn asks over the connection, which it closes, to be admitted; format is
// the newest format of the replicated data that this machine reads. The error
// is a status with the member's words.
func AskIn(ctx context.Context, conn net.Conn, r pki.JoinRequest, format uint32) (pki.Admission, error) {
	defer conn.Close()
	once := make(chan net.Conn, 1)
	once <- conn
	client, err := grpc.NewClient("passthrough:///"+conn.RemoteAddr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // over the connection, which is TLS
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, net.ErrClosed
			}
		}))
	if err != nil {
		return pki.Admission{}, err
	}
	defer client.Close()
	m, err := admin.NewEntryClient(client).Admit(ctx, &admin.AdmitRequest{
		Token: r.Token.Text(), Csr: r.CSR, Name: r.Name, Hosts: r.Hosts, Time: timestamppb.New(r.Time), Format: format,
	})
	if err != nil {
		return pki.Admission{}, err
	}
	role := pki.RoleMember
	if m.Learner {
		role = pki.RoleLearner
	}
	return pki.Admission{
		ClusterID: m.ClusterId, MemberID: m.MemberId, Role: role,
		Chain: m.ChainPem, ClusterKey: m.ClusterKey, CA: m.Ca,
	}, nil
}
