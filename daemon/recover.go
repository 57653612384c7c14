// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// Recovered is what a recovery found and did.
type Recovered struct {
	Cluster, Member uint64         // the new cluster, and its only member
	Revision        int64          // with which it begins
	Unconfirmed     uint64         // entries of the log that were not known to be agreed upon; they count now
	Others          []state.Member // they count as removed
}

// Recover makes the member of a data directory that no process uses a cluster
// of its own with all that it has, because the others are lost for good. What
// they acknowledged and this member has not heard of is lost. It may end
// anywhere, and be called again. Errors that the administrator can mend wrap
// ErrConfig.
func Recover(o Options) (r Recovered, err error) {
	file := filepath.Join(o.Config.DataDir, "member.json")
	if _, err := os.Stat(file); err != nil {
		return r, fmt.Errorf("%w: there is no member to recover: %v", ErrConfig, err)
	}
	d := newDaemon(o)
	if err := d.takeDir(); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.dir.Close()) }()
	var recovered Recovered
	err = d.unlessFatal(func() (err error) {
		recovered, err = d.recoverDir()
		return err
	})
	if err != nil {
		return r, d.withAgain(err)
	}
	return recovered, nil
}

// recoverDir is Recover, while nothing of the member is open but its directory.
func (d *Daemon) recoverDir() (r Recovered, err error) {
	d.registry = prometheus.NewRegistry() // nobody reads it
	if err := d.openState(); err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, d.store.Close())
		d.store = nil
	}()
	r.Member = d.dir.memberID()
	if r.Cluster, err = d.machine.Cluster(); err != nil {
		return r, err
	}
	if r.Cluster == d.dir.clusterID() || r.Cluster == 0 {
		if err := d.forceNewCluster(&r); err != nil {
			return r, err
		}
	} // else it was cut short here
	r.Revision = d.store.Revision()
	if err := d.dir.renameCluster(r.Cluster); err != nil {
		return r, err
	}
	d.log.Warn("recovered as a cluster of one: what the others acknowledged and this member had not heard of is lost",
		"cluster", hexID(r.Cluster), "member", hexID(r.Member), "revision", r.Revision, "removed", len(r.Others))
	return r, nil
}

func (d *Daemon) forceNewCluster(r *Recovered) error {
	r.Cluster = newID()
	last := &remembering{machine: machine{d.machine}}
	done, err := raft.Recover(raft.Config{
		Dir: filepath.Join(d.dir.path, "raft"), Member: r.Member, Log: d.config().RaftLog, Logger: d.log,
	}, last, state.RecoverCommand(r.Cluster, r.Member))
	r.Unconfirmed = done.Last - min(done.Applied, done.Last)
	for _, m := range last.members {
		if m.ID != r.Member {
			r.Others = append(r.Others, m)
		}
	}
	return err
}

// remembering knows the members as they were before the newest entry. The
// newest of a recovery makes the others none; before the log was applied, the
// state may not have heard of them.
type remembering struct {
	machine
	members []state.Member
}

func (r *remembering) Apply(entries []raft.Entry) [][]byte {
	r.members = r.Members()
	return r.machine.Apply(entries)
}

// renameCluster makes the directory that of a member which made its cluster.
func (d *dataDir) renameCluster(cluster uint64) error {
	m := d.member
	m.Cluster, m.Joined = hexID(cluster), nil
	raw, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	if err := writeFileDurably(filepath.Join(d.path, "member.json"), append(raw, '\n')); err != nil {
		return err
	}
	d.member = m
	return nil
}

// recover has a running member that has lost the majority recovered. When it
// returns, the member is about to end and begin anew.
func (d *Daemon) recover(_ context.Context, r *admin.RecoverRequest) (*admin.RecoverResponse, error) {
	if !r.ForceNewCluster {
		return nil, status.Error(codes.InvalidArgument, "a recovery loses what this member has not heard of: it must be forced")
	}
	s := d.node.Status()
	if s.Leader != 0 {
		return nil, status.Errorf(codes.FailedPrecondition,
			"the cluster has a leader, member %s: nothing is lost; remove members that are gone with cleatctl member remove", hexID(s.Leader))
	}
	reply := &admin.RecoverResponse{MemberId: d.dir.memberID(), Revision: d.store.Revision(), Unconfirmed: s.Last - min(s.Applied, s.Last)}
	for _, m := range d.machine.Members() {
		if m.ID != d.dir.memberID() {
			reply.Removed = append(reply.Removed, &admin.Member{Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, Learner: m.Learner})
		}
	}
	next := rebirth{"being recovered", func() error { _, err := d.recoverDir(); return err }}
	select {
	case d.anew <- next:
		return reply, nil
	default:
		return nil, status.Error(codes.Aborted, "this member is about to begin anew already")
	}
}
