// SPDX-License-Identifier: Apache-2.0

package main

// reasons say of each setting when somebody would change it, and what that
// costs. cleatd.toml(5) has them behind what the daemon itself says.
var reasons = map[string]string{
	"name": `Members of one cluster have different names. It is in the member's certificate and in member lists; change it
before the machine joins.`,
	"data-dir": `A directory of its own on a local disk whose writes are safe once it says so; only cleatd's user may read it, for
its keys lie there. Under systemd the unit must allow another place: see cleatd(8).`,
	"socket": `Under systemd cleatd.socket holds the socket and says where it is (systemctl edit cleatd.socket); this setting
counts when cleatd opens it itself.`,
	"advertise": `A name or address without a port. It is what makes a member of a cluster out of a machine that stands alone: others
dial it, and certificates hold it. When it changes, the member's certificate is made anew. Without it, who listens at all
addresses (cleatd-net.socket does) is told by the one with which the machine goes to others.`,
	"listen-client": `Clients always show a certificate of the cluster's CA here. Programs on this machine need no certificate at the
socket. With cleatd-net.socket systemd says where this door is.`,
	"listen-peer": `Only members come in here, and machines with a token to join. A member that stands alone has no such door. With
cleatd-net.socket systemd says where it is.`,
	"listen-ca": `Whoever comes in here sees the member's certificate and shows none, or the one that he renews: step and ACME
clients get theirs here. How many come and how often is bounded. A member that stands alone has no such door. With
cleatd-net.socket systemd says where it is.`,
	"acme-names": `A list, such as ["*.example.internal", "10.0.0.0/8"]; as a flag or a variable with commas between. Who can answer
at port 80 of such a name gets a server certificate for it, which opens no door of the cluster. Alike on all members: what
counts is what the one says that is asked.`,
	"acme-allow": `A list of networks, such as ["127.0.0.0/8"]. To validate a name a member fetches a page from it; without this
nobody could have it look at what answers only on the member itself.`,
	"acme-deny": `A list of networks, such as ["10.9.0.0/16"], that a name from outside must not make a member look at. It counts more
than acme-allow.`,
	"join": `It counts at the first start only: once the machine belongs to a cluster it stays a member, whatever stands here. By
hand, cleatctl join does the same.`,
	"token-file": `The file holds what cleatctl invite printed behind --token, and is read at the first start only. It must be readable
by the user cleat and by nobody else.`,
	"log-level": `Debug tells of each request, without keys and values. It changes with a reload.`,
	"max-request-bytes": `As in etcd. A request is held in memory on every member and goes through the log whole, so that
large ones make others wait; keep large data elsewhere and its name here.`,
	"max-txn-ops": `As in etcd. A transaction is applied in one piece, and nothing else is meanwhile.`,
	"watch-progress-interval": `Only watchers that asked for progress notifications hear it. A shorter time lets them tell sooner up to
which revision they have seen everything, for a message each.`,
	"election-timeout": `A longer time keeps members on slow disks or networks from holding elections for nothing; a shorter one
replaces a lost leader sooner. Alike on all members. Leases last at least one and a half times as
long, and 2 s.`,
	"hash-interval": `When members differ, which no sound machine makes them do, the CORRUPT alarm is raised, as in etcd.`,
	"cert-ttl": `A shorter life bounds for how long a stolen key of a member is of use. A member that was off for longer than it
issues itself a new certificate when it starts.`,
	"raft-log": `wal needs one write to the disk for what boltdb needs two for. boltdb is one file that bbolt's tools
read.`,
	"auth-token": `Simple tokens are known to all members and end with them; JSON Web Tokens need keys on each member, which are
files: ed25519, ECDSA, RSA or HMAC by sign-method. Only clusters with auth enabled give tokens at all.`,
	"auth-token-ttl": `As in etcd. Clients log in anew by themselves when a token has ended.`,
	"bcrypt-cost": `As in etcd. It counts for passwords that are set from now on. At 10, checking one takes some 60 ms of a core; half
of the cores do so at most.`,
	"reserve-bytes": `A member whose disk is full cannot even note that it is. Below the reserve it refuses what stores and raises NOSPACE
for itself; reads, deletes and the log go on.`,
	"quota-backend-bytes": `As in etcd, but there is none by default, for nothing here grows for ever: the disk is the bound. Above the quota all
members refuse what stores until a twentieth of it is free again.`,
	"memory-bytes": `Give it when other programs on the machine need what is left. Under systemd MemoryMax= in the unit is enough. A
large list that finds no memory waits for it, a minute at most.`,
	"distributed-tracing-address": `Spans hold no keys, values and users. An http URL, or an address alone, goes in plain text; https checks the
collector's certificate against the machine's authorities.`,
	"distributed-tracing-sampling-rate": `Requests of callers who are traced themselves are traced in any case, and are no part of it.`,
	"auto-compaction-mode":              `As in etcd: periodic keeps what is younger than the retention, revision as many revisions as it says.`,
	"auto-compaction-retention": `As in etcd, but where etcd keeps all history unless told otherwise, a day is kept here. Watchers that were
away for longer must list anew.`,
}
