// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Alarms that the cluster agreed upon. They last until somebody takes them
// back; one that passes is taken back by the member that raised it.
//
// Alarm: tableAlarm <type> <member> -> version flags

var (
	// ErrCorrupt: the members are not alike, and nothing is written until
	// somebody has decided which are right.
	ErrCorrupt = errors.New("state: corrupt cluster")
	// ErrNoSpace: a member has no room, and nothing is stored until it has.
	ErrNoSpace = errors.New("state: database space exceeded")
)

// Alarm is what somebody has to look after.
type Alarm struct {
	Type    pb.AlarmType // 0 to 255
	Member  uint64       // who suffers from it; zero if nobody knows
	Passing bool         // the member itself takes it back when it no longer suffers
}

const (
	alarmVersion = 1
	alarmPassing = 1 // a flag
)

// AlarmCommand returns the command that raises an alarm, or takes it back.
// Either may be done again. Taking back one that passes leaves what somebody
// has raised to stay.
func AlarmCommand(id Identity, alarm Alarm, on bool) []byte {
	k := kindAlarmOff
	if on {
		k = kindAlarmOn
	}
	return append(append(appendPrefix(nil, k, id), alarmKey(alarm)...), alarmFlags(alarm))
}

func alarmKey(a Alarm) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(a.Type)}, a.Member)
}

func alarmFlags(a Alarm) byte {
	if a.Passing {
		return alarmPassing
	}
	return 0
}

func parseAlarm(key []byte, flags byte) (Alarm, error) {
	if len(key) != 9 {
		return Alarm{}, fmt.Errorf("%w: alarm of %d bytes", ErrCommand, len(key))
	}
	return Alarm{
		Type: pb.AlarmType(key[0]), Member: binary.BigEndian.Uint64(key[1:]), Passing: flags&alarmPassing != 0,
	}, nil
}

// alarm answers as etcd does: what is raised now, or was taken back.
func (a *applier) alarm(body []byte, on bool) (Reply, error) {
	if len(body) != 10 {
		return Reply{}, fmt.Errorf("%w: alarm of %d bytes", ErrCommand, len(body))
	}
	asked, err := parseAlarm(body[:9], body[9])
	if err != nil {
		return Reply{}, err
	}
	alarms, err := readAlarms(a.batch)
	if err != nil {
		return Reply{}, err
	}
	at := slices.IndexFunc(alarms, func(b Alarm) bool { return b.Type == asked.Type && b.Member == asked.Member })
	stays := at >= 0 && asked.Passing && !alarms[at].Passing
	if stays || !on && at < 0 {
		return a.told(nil)
	}
	if on && asked.Passing {
		gone, err := a.batch.Get(tableRemoved, memberKey(asked.Member))
		if err != nil {
			return Reply{}, err
		}
		if gone != nil { // it would take nothing back
			return a.told(nil)
		}
	}
	if on {
		a.batch.Set(tableAlarm, body[:9], []byte{alarmVersion, body[9]})
	} else {
		a.batch.Delete(tableAlarm, body[:9])
	}
	a.rows = true
	if alarms, err = readAlarms(a.batch); err != nil {
		return Reply{}, err
	}
	a.alarmed = alarmedBy(alarms)
	return a.told(&asked)
}

// told is an AlarmResponse, but its header.
func (a *applier) told(alarm *Alarm) (Reply, error) {
	reply := Reply{Revision: a.revision()}
	if alarm == nil {
		return reply, nil
	}
	var err error
	reply.Payload, err = proto.Marshal(&pb.AlarmResponse{Alarms: []*pb.AlarmMember{{MemberID: alarm.Member, Alarm: alarm.Type}}})
	return reply, err
}

// alarmed is what the alarms forbid.
type alarmed struct{ corrupt, full bool }

func alarmedBy(alarms []Alarm) (a alarmed) {
	for _, alarm := range alarms {
		a.corrupt = a.corrupt || alarm.Type == pb.AlarmType_CORRUPT
		a.full = a.full || alarm.Type == pb.AlarmType_NOSPACE
	}
	return a
}

// forbids says why a command may not be carried out now. Those of the cluster's
// own upkeep always may.
func (a alarmed) forbids(k kind, body []byte) error {
	switch k {
	case kindPut, kindDeleteRange, kindTxn, kindCompact, kindLeaseGrant, kindLeaseRevoke:
	default:
		return nil
	}
	switch {
	case a.corrupt:
		return ErrCorrupt
	case a.full && k == kindTxn:
		_, err := with(body, new(pb.TxnRequest), func(r *pb.TxnRequest) (Reply, error) {
			if TxnRoom(r) > 0 {
				return Reply{}, ErrNoSpace
			}
			return Reply{}, nil
		})
		return err
	case a.full && (k == kindPut || k == kindLeaseGrant):
		return ErrNoSpace
	}
	return nil
}

func readAlarms(s scanner) ([]Alarm, error) {
	var alarms []Alarm
	err := s.Scan(tableAlarm, nil, func(key, value []byte) error {
		if len(value) != 2 {
			return fmt.Errorf("%w: alarm with a value of %d bytes", ErrCommand, len(value))
		}
		a, err := parseAlarm(key, value[1])
		alarms = append(alarms, a)
		return err
	})
	return alarms, err
}

// Alarms returns what the cluster agreed upon, from memory. The caller must not
// change it.
func (m *Machine) Alarms() []Alarm { return m.roll.Load().alarms }
