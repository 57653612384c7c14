// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Alarms that the cluster agreed upon. They last until somebody takes them
// back.
//
// Alarm: tableAlarm <type> <member> -> version

// ErrCorrupt: the members are not alike, and nothing is written until somebody
// has decided which are right.
var ErrCorrupt = errors.New("state: corrupt cluster")

// Alarm is what somebody has to look after.
type Alarm struct {
	Type   pb.AlarmType
	Member uint64 // who suffers from it; zero if nobody knows
}

const alarmVersion = 1

// AlarmCommand returns the command that raises an alarm, or takes it back.
// Either may be done again.
func AlarmCommand(id Identity, alarm Alarm, on bool) []byte {
	k := kindAlarmOff
	if on {
		k = kindAlarmOn
	}
	return append(appendPrefix(nil, k, id), alarmKey(alarm)...)
}

func alarmKey(a Alarm) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(a.Type)}, a.Member)
}

func parseAlarm(key []byte) (Alarm, error) {
	if len(key) != 9 {
		return Alarm{}, fmt.Errorf("%w: alarm of %d bytes", ErrCommand, len(key))
	}
	return Alarm{Type: pb.AlarmType(key[0]), Member: binary.BigEndian.Uint64(key[1:])}, nil
}

func (a *applier) alarm(body []byte, on bool) (Reply, error) {
	if _, err := parseAlarm(body); err != nil {
		return Reply{}, err
	}
	reply, err := a.changed(func() {
		if on {
			a.batch.Set(tableAlarm, body, []byte{alarmVersion})
		} else {
			a.batch.Delete(tableAlarm, body)
		}
	})
	if err != nil {
		return Reply{}, err
	}
	alarms, err := readAlarms(a.batch)
	a.corrupt = isCorrupt(alarms)
	return reply, err
}

// stoppedByCorruption says whether commands of a kind wait until somebody has
// looked after a cluster whose members differ. Those of its own upkeep go on.
func (k kind) stoppedByCorruption() bool {
	switch k {
	case kindPut, kindDeleteRange, kindTxn, kindCompact, kindLeaseGrant, kindLeaseRevoke:
		return true
	}
	return false
}

func readAlarms(s scanner) ([]Alarm, error) {
	var alarms []Alarm
	err := s.Scan(tableAlarm, nil, func(key, _ []byte) error {
		a, err := parseAlarm(key)
		alarms = append(alarms, a)
		return err
	})
	return alarms, err
}

func isCorrupt(alarms []Alarm) bool {
	for _, a := range alarms {
		if a.Type == pb.AlarmType_CORRUPT {
			return true
		}
	}
	return false
}

// Alarms returns what the cluster agreed upon, from memory. The caller must not
// change it.
func (m *Machine) Alarms() []Alarm { return m.roll.Load().alarms }
