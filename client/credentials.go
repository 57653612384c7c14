// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

var errClientOnly = errors.New("client: credentials cannot serve")

// Credentials returns gRPC credentials whose every handshake uses the
// certificate and the CA bundle that are on disk at that moment. The files
// must be readable now. Safe for concurrent use.
func (c Config) Credentials() (credentials.TransportCredentials, error) {
	f, err := open(c)
	if err != nil {
		return nil, err
	}
	return &reloading{files: f}, nil
}

type reloading struct {
	files *files
	name  string // set by OverrideServerName
}

func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config := r.files.config()
	config.ServerName = r.name
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

func (r *reloading) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errClientOnly
}

func (r *reloading) Info() credentials.ProtocolInfo {
	return credentials.NewTLS(r.files.config()).Info()
}

func (r *reloading) Clone() credentials.TransportCredentials {
	return &reloading{files: r.files, name: r.name}
}

// OverrideServerName is part of gRPC's interface, which is leaving it.
func (r *reloading) OverrideServerName(name string) error {
	r.name = name
	return nil
}
