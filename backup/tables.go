// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/state"
)

// What is not keys, leases, users or roles tells whoever reads the file where it
// comes from; who restores it begins with another cluster.

func (s *Source) writeMeta(w *file.Writer, cast state.Cast) {
	conf := confState{Voters: []uint64{}}
	for _, m := range cast.Members {
		switch {
		case m.Reserved:
		case m.Learner:
			conf.Learners = append(conf.Learners, m.ID)
		default:
			conf.Voters = append(conf.Voters, m.ID)
		}
	}
	_ = w.Bucket(file.Meta)
	_ = w.Put([]byte(file.ConfState), encodeJSON(conf))
	_ = w.Put([]byte(file.ConsistentIndex), binary.BigEndian.AppendUint64(nil, s.View.Index()))
	if rev := s.View.Compacted(); rev >= 0 {
		at := file.AppendRevision(nil, rev, 0, false)
		_ = w.Put([]byte(file.FinishedCompaction), at)
		_ = w.Put([]byte(file.ScheduledCompaction), at)
	}
	_ = w.Put([]byte(file.StorageVersion), []byte(StorageVersion))
	_ = w.Put([]byte(file.Term), binary.BigEndian.AppendUint64(nil, s.Term))
}

// confState is raftpb.ConfState as etcd writes it.
type confState struct {
	Voters    []uint64 `json:"voters"`
	Learners  []uint64 `json:"learners,omitempty"`
	AutoLeave bool     `json:"auto_leave"`
}

// member is etcd's membership.Member as it writes it.
type member struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	Learner    bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

func encodeJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("backup: encode %T: %v", v, err)) // numbers and texts only
	}
	return raw
}

// putAll writes a bucket in order.
func putAll(w *file.Writer, bucket string, pairs map[string][]byte) {
	_ = w.Bucket(bucket) // the writer keeps its first error for Close
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		_ = w.Put([]byte(key), pairs[key])
	}
}

func writeCast(w *file.Writer, cast state.Cast) {
	alarms, members, removed := map[string][]byte{}, map[string][]byte{}, map[string][]byte{}
	for _, a := range cast.Alarms {
		raw, err := proto.Marshal(&pb.AlarmMember{MemberID: a.Member, Alarm: a.Type})
		if err != nil {
			panic(fmt.Sprintf("backup: encode an alarm: %v", err)) // numbers only
		}
		alarms[string(raw)] = nil
	}
	for _, m := range cast.Members {
		members[strconv.FormatUint(m.ID, 16)] = encodeJSON(member{
			ID: m.ID, PeerURLs: m.PeerURLs, Learner: m.Learner, Name: m.Name, ClientURLs: m.ClientURLs,
		})
	}
	for _, id := range cast.Removed {
		removed[strconv.FormatUint(id, 16)] = []byte("removed")
	}
	putAll(w, file.Alarm, alarms)
	putAll(w, file.Members, members)
	putAll(w, file.MembersRemoved, removed)
	putAll(w, file.Cluster, map[string][]byte{
		"clusterVersion": []byte(StorageVersion),
		"downgrade":      []byte(`{"target-version":"","enabled":false}`),
	})
}
