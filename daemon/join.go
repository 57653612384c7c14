// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	adminserver "github.com/cleatd/cleat/admin/server"
	"github.com/cleatd/cleat/pki"
)

// join has this member ask to be let into another cluster. When it returns, the
// identity that it was given is durable, and the member is about to end and
// begin anew with it.
func (d *Daemon) join(ctx context.Context, r *admin.JoinRequest) (*admin.JoinResponse, error) {
	if !d.joining.TryLock() {
		return nil, status.Error(codes.Aborted, "this member is joining a cluster already")
	}
	defer d.joining.Unlock()
	token, err := readToken(r.Token)
	if err != nil {
		return nil, err
	}
	if err := d.mayLeave(ctx, r.Discard); err != nil {
		return nil, err
	}
	m, err := d.askIn(ctx, token, r.Address, r.Advertise)
	if err != nil {
		return nil, err
	}
	select {
	case d.anew <- rebirth{"joining a cluster", func() error { return d.dir.take(d.config().RaftLog) }}:
	default: // told already
	}
	return &admin.JoinResponse{ClusterId: m.ClusterID, MemberId: m.MemberID, Learner: m.Role == pki.RoleLearner}, nil
}

// mayLeave refuses a member that would lose something by joining another
// cluster, unless that is wanted.
func (d *Daemon) mayLeave(ctx context.Context, discard bool) error {
	stranded := d.node.Status().Leader == 0 // nobody could remove it
	if d.amongSeveral() && !(stranded && discard) {
		next := fmt.Sprintf("remove it there first (cleatctl member remove %s)", hexID(d.dir.memberID()))
		if stranded {
			next += "; if that cluster is lost for good, join with --discard"
		}
		return status.Errorf(codes.FailedPrecondition, "this machine is already member %s of cluster %s: %s",
			hexID(d.dir.memberID()), hexID(d.dir.clusterID()), next)
	}
	if discard {
		return nil
	}
	if what := d.holds(ctx); what != "" {
		return status.Errorf(codes.FailedPrecondition,
			"this member holds data that joining would discard: %s; save it, then join with --discard", what)
	}
	return nil
}

// holds names what makes this member more than a freshly started one.
func (d *Daemon) holds(ctx context.Context) string {
	var found []string
	if rev := d.store.Revision(); rev > 1 {
		found = append(found, fmt.Sprintf("keys, up to revision %d", rev))
	}
	if n := d.machine.Leases().Len(); n > 0 {
		found = append(found, fmt.Sprintf("%d leases", n))
	}
	if tokens, err := d.pki.Tokens(ctx); err == nil {
		open := 0
		for _, t := range tokens {
			if t.Left > 0 && t.Revoked.IsZero() && time.Now().Before(t.Expires) {
				open++
			}
		}
		if open > 0 {
			found = append(found, fmt.Sprintf("invitations that are open: %d", open))
		}
	}
	return strings.Join(found, ", ")
}

func readToken(text string) (pki.Token, error) {
	token, err := pki.ParseToken(strings.TrimSpace(text))
	if err != nil {
		return token, status.Error(codes.InvalidArgument, err.Error())
	}
	return token, nil
}

// askIn asks the member at address to be let in, and makes the answer durable.
// Errors are statuses that say what to do.
func (d *Daemon) askIn(ctx context.Context, token pki.Token, address, advertise string) (pki.Admission, error) {
	if err := os.MkdirAll(d.dir.joining(""), 0o700); err != nil {
		return pki.Admission{}, err
	}
	j, err := pki.Join(d.dir.joining("pki"), token)
	if err != nil {
		return pki.Admission{}, err
	}
	if j.Credential, err = credential(keyCredential); err != nil {
		return pki.Admission{}, err
	}
	conn, err := adminserver.Knock(ctx, address, j)
	if errors.Is(err, pki.ErrTokenDigest) || errors.Is(err, pki.ErrClock) {
		return pki.Admission{}, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err != nil {
		return pki.Admission{}, status.Errorf(codes.Unavailable,
			"%v; is cleatd there, with advertise set, and its port open to this machine?", err)
	}
	if advertise == "" {
		advertise = d.config().Advertise
	}
	if !isHost(advertise) {
		return pki.Admission{}, status.Errorf(codes.InvalidArgument,
			"advertise %q: give a host name or an address alone; the ports are those of listen-peer and listen-client", advertise)
	}
	if advertise == "" {
		if advertise, _, err = net.SplitHostPort(conn.LocalAddr().String()); err != nil {
			return pki.Admission{}, err
		}
	}
	request, err := j.Request(d.config().Name, d.config().hosts(advertise))
	if err != nil {
		return pki.Admission{}, err
	}
	m, err := adminserver.AskIn(ctx, conn, request, d.newest)
	if err != nil {
		return pki.Admission{}, err
	}
	learner := m.Role == pki.RoleLearner
	if err := d.dir.announceAs(memberFile{
		Format: dirFormat, Cluster: hexID(m.ClusterID), Member: hexID(m.MemberID), RaftLog: d.config().RaftLog,
		Joined: &joined{Address: address, Learner: learner}, Advertise: advertise,
	}); err != nil {
		return pki.Admission{}, err
	}
	if err := j.Accept(m); err != nil {
		return pki.Admission{}, err
	}
	d.log.Info("let in", "cluster", hexID(m.ClusterID), "member", hexID(m.MemberID), "learner", learner, "by", address)
	return m, nil
}

// joinAsTold joins the cluster that the settings name, when the data directory
// is empty. It tries until it is let in or refused.
func (d *Daemon) joinAsTold(ctx context.Context) error {
	if !d.dir.untouched() {
		return nil
	}
	address, err := joinAddress(d.config())
	if err != nil || address == "" {
		return err
	}
	token, err := tokenOf(d.config(), address)
	if err != nil {
		return err
	}
	defer d.begins.waiting.Store(nil)
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for told := false; ; told = true {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := d.askIn(attempt, token, address, "")
		cancel()
		switch {
		case err == nil:
			return d.dir.take(d.config().RaftLog)
		case status.Code(err) != codes.Unavailable && status.Code(err) != codes.DeadlineExceeded:
			return fmt.Errorf("%w: join %s: %s", ErrConfig, address, status.Convert(err).Message())
		case !told:
			d.log.Warn("not let in yet; trying again each second", "join", address, "cause", err)
			why := oneLine(fmt.Errorf("waiting to be let in by %s: %s", address, status.Convert(err).Message()))
			d.begins.waiting.Store(&why)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}
