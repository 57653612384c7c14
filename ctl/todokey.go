// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"strings"

	"github.com/cleatd/cleat/admin"
)

// clusterKey is what a member gives to do about its cluster key.
func (f *findings) clusterKey(name string, key *admin.ClusterKey) {
	if why := key.GetLocked(); why != "" {
		f.add(warning, "authority", "there, cleatctl ca unlock, with the exported key if its own is gone",
			"the CA is locked at %s, which issues and renews nothing: %s", name, strings.TrimPrefix(why, "pki: "))
	}
	if key.GetStale() {
		f.add(warning, "authority", "there, encrypt the key anew: cleatctl ca key export FILE, cleatctl ca key decrypt FILE | systemd-creds encrypt --name=cluster.key - /etc/credstore.encrypted/cleatd.cluster.key",
			"the credential of %s has an old cluster key, by which it opens the new one", name)
	}
	if key.GetPlain() {
		f.add(warning, "authority", "there, remove pki/cluster.key from the data directory", "%s has the cluster key from systemd, and it lies on the disk as well", name)
	}
}

// keyStanding is how the cluster key is, in words.
func keyStanding(s *admin.StatusResponse, key *admin.ClusterKey) string {
	text := key.GetId()
	switch {
	case key.GetLocked() != "":
		text += ", LOCKED: this member issues nothing"
	case key.GetCredential():
		text += ", from systemd"
	default:
		text += ", on the disk"
	}
	if key.GetExported() {
		text += ", exported"
	} else {
		text += ", never exported"
	}
	var waiting []string
	for _, id := range key.GetWaiting() {
		waiting = append(waiting, nameOf(s, id))
	}
	switch {
	case key.GetNext() != "":
		text += "; " + key.GetNext() + " is to replace it (cleatctl ca key rotate goes on)"
	case key.GetPrevious() != "":
		text += "; it has replaced " + key.GetPrevious()
	}
	if len(waiting) > 0 {
		text += ", not yet at " + strings.Join(waiting, ", ")
	}
	return text
}
