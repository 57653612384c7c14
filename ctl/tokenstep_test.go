// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// stepDesk makes tokens for step.
type stepDesk struct {
	office
	asked *admin.CreateStepTokenRequest
}

func (d *stepDesk) CreateStepToken(_ context.Context, r *admin.CreateStepTokenRequest) (*admin.CreateStepTokenResponse, error) {
	d.asked = r
	return &admin.CreateStepTokenResponse{Token: "eyJ.x.y", Address: "h:2381", Expires: timestamppb.New(time.Unix(0, 0))}, nil
}

func TestTokenStepPrintsTheLineForStep(t *testing.T) {
	d := &stepDesk{}
	socket := d.serve(t, d)
	for _, c := range []struct {
		line, want string
		asked      *admin.CreateStepTokenRequest
	}{
		{"--client alice", "step ca certificate --token eyJ.x.y alice alice.crt alice.key\n", &admin.CreateStepTokenRequest{Profile: "client", Name: "alice", TtlSeconds: 900}},
		{"--server ::1,web --ttl 1h", "step ca certificate --token eyJ.x.y ::1 __1.crt __1.key\n", &admin.CreateStepTokenRequest{Profile: "server", Name: "::1", Hosts: []string{"web"}, TtlSeconds: 3600}},
	} {
		code, stdout, stderr := cleatctl(t, append(strings.Fields("token step --socket "+socket), strings.Fields(c.line)...)...)
		if code != exitDone || stdout != c.want || !strings.Contains(stderr, "good for one "+c.asked.Profile+" certificate") {
			t.Errorf("%s: %d, %q, %q", c.line, code, stdout, stderr)
		}
		if !proto.Equal(d.asked, c.asked) {
			t.Errorf("%s: asked for %v", c.line, d.asked)
		}
	}
}

func TestATokenForStepThatNobodyCouldUseIsNotAskedFor(t *testing.T) {
	for line, want := range map[string]string{
		"token step":                            "needs either --client NAME or --server HOSTS",
		"token step alice":                      "takes no argument",
		"token step --client a --server b":      "needs either --client NAME or --server HOSTS",
		"token step --client member/1":          "no name for a user",
		"token step --client alice --ttl=100ms": "give a second at least",
	} {
		code, _, stderr := cleatctl(t, strings.Fields(line)...)
		if code != exitMisused || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %q", line, code, stderr)
		}
	}
}
