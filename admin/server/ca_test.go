// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/pem"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

func TestTheCAIsShownRotatedAndTakenFromElsewhere(t *testing.T) {
	o := start(t)
	now, err := o.client.CAStatus(t.Context(), &admin.CAStatusRequest{})
	if err != nil || len(now.Roots) != 1 || !now.Roots[0].Held || now.Rotation != nil {
		t.Fatalf("%v, %v", now, err)
	}
	request, err := o.client.RequestCA(t.Context(), &admin.RequestCARequest{})
	if block, _ := pem.Decode(request.GetCsrPem()); err != nil || block == nil || block.Type != "CERTIFICATE REQUEST" {
		t.Errorf("%v, %v", request, err)
	}
	for name, c := range map[string]struct {
		call func() error
		code codes.Code
		want string
	}{
		"an unknown act": {func() error {
			_, err := o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "twist"})
			return err
		}, codes.InvalidArgument, `not "twist"`},
		"an unknown step": {func() error {
			_, err := o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "root", Until: "soon"})
			return err
		}, codes.InvalidArgument, `"soon"`},
		"nothing to abort": {func() error {
			_, err := o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "abort"})
			return err
		}, codes.FailedPrecondition, "none is under way"},
		"rubbish": {func() error {
			_, err := o.client.ImportCA(t.Context(), &admin.ImportCARequest{CertificatesPem: []byte("x"), KeyPem: []byte("y")})
			return err
		}, codes.InvalidArgument, "no private key"},
		"too much": {func() error {
			_, err := o.client.ImportCA(t.Context(), &admin.ImportCARequest{CertificatesPem: make([]byte, maxImportBytes+1)})
			return err
		}, codes.InvalidArgument, "at most"},
	} {
		if err := c.call(); status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	now, err = o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "root", Until: "prepared"})
	if err != nil || now.Rotation.GetStep() != "prepared" || len(now.Roots) != 2 || len(now.Rotation.WaitsFor) == 0 {
		t.Fatalf("%v, %v", now, err)
	}
	if s, err := o.client.Status(t.Context(), &admin.StatusRequest{}); err != nil || s.Rotation != "prepared" {
		t.Errorf("status: %v, %v", s.GetRotation(), err)
	}
	if _, err := o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "intermediate"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a second one: %v", err)
	}
	if now, err = o.client.RotateCA(t.Context(), &admin.RotateCARequest{Act: "abort"}); err != nil || now.Rotation != nil {
		t.Errorf("%v, %v", now, err)
	}
}
