// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// membership is a reply about members. All have the same form but the simple
// one, which is a sentence.
type membership struct {
	message proto.Message
	header  *pb.ResponseHeader
	added   *pb.Member // by member add
	members []*pb.Member
}

func (m membership) answer(hex bool, simple func(*printer)) answer {
	form := any(m.message)
	if hex {
		form = m.hexadecimal()
	}
	return answer{
		simple:  simple,
		message: m.message,
		json:    form,
		fields: func(p *printer) {
			p.header(m.header)
			for _, member := range m.members {
				p.member(member)
			}
		},
		table: func() table {
			rows := table{{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}}
			for _, member := range m.members {
				rows = append(rows, memberRow(member))
			}
			return rows
		},
	}
}

func memberRow(m *pb.Member) []string {
	status := "started"
	if m.GetName() == "" {
		status = "unstarted"
	}
	return []string{
		fmt.Sprintf("%x", m.GetID()), status, m.GetName(),
		strings.Join(m.GetPeerURLs(), ","), strings.Join(m.GetClientURLs(), ","), fmt.Sprint(m.GetIsLearner()),
	}
}

// member is a member in the fields form.
func (p *printer) member(m *pb.Member) {
	id := "%d"
	if p.hex {
		id = "%x"
	}
	p.linef(`"ID" : `+id, m.GetID())
	p.linef(`"Name" : %q`, m.GetName())
	for _, url := range m.GetPeerURLs() {
		p.linef(`"PeerURL" : %q`, url)
	}
	for _, url := range m.GetClientURLs() {
		p.linef(`"ClientURL" : %q`, url)
	}
	p.linef(`"IsLearner" : %t`, m.GetIsLearner())
	p.linef("")
}

// The JSON form with --hex, whose IDs are text, as etcdctl's.
type (
	hexMembership struct {
		Header  *hexHeader   `json:"header"`
		Member  *hexMember   `json:"member,omitempty"`
		Members []*hexMember `json:"members"`
	}
	hexHeader struct {
		ClusterID string `json:"cluster_id"`
		MemberID  string `json:"member_id"`
		Revision  int64  `json:"revision,omitempty"`
		RaftTerm  uint64 `json:"raft_term,omitempty"`
	}
	hexMember struct {
		ID         string   `json:"ID"`
		Name       string   `json:"name,omitempty"`
		PeerURLs   []string `json:"peerURLs,omitempty"`
		ClientURLs []string `json:"clientURLs,omitempty"`
		IsLearner  bool     `json:"isLearner,omitempty"`
	}
)

func (m membership) hexadecimal() hexMembership {
	out := hexMembership{
		Header: &hexHeader{
			ClusterID: fmt.Sprintf("%x", m.header.GetClusterId()), MemberID: fmt.Sprintf("%x", m.header.GetMemberId()),
			Revision: m.header.GetRevision(), RaftTerm: m.header.GetRaftTerm(),
		},
		Members: []*hexMember{},
	}
	if m.added != nil {
		out.Member = inHex(m.added)
	}
	for _, member := range m.members {
		out.Members = append(out.Members, inHex(member))
	}
	return out
}

func inHex(m *pb.Member) *hexMember {
	return &hexMember{
		ID: fmt.Sprintf("%x", m.GetID()), Name: m.GetName(),
		PeerURLs: m.GetPeerURLs(), ClientURLs: m.GetClientURLs(), IsLearner: m.GetIsLearner(),
	}
}
