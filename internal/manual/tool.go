// SPDX-License-Identifier: Apache-2.0

package main

// What cleatctl(1) says that no command of its own does.
const (
	toolWords = `cleatctl speaks to a member of a cleat cluster: to that of this machine over its
Unix socket when nothing else is said, to any over the network with --endpoints
and a certificate, or as cleatctl login has left it. Its commands for keys, leases, members, users and snapshots
are etcdctl's, with the same flags and the same output; those that etcd lacks,
such as invite and join, speak to the socket only.

Flags may stand anywhere on the line; after -- all are arguments. Each command
has a page of its own, cleatctl-COMMAND(1), and --help.`

	toolEnvironment = `Each flag that all commands have may be given as CLEATCTL_NAME, with underscores
for hyphens, or, for scripts that come from etcd, as ETCDCTL_NAME. A flag on the
line counts more than either, CLEATCTL_NAME more than ETCDCTL_NAME.

When neither a socket nor endpoints nor a context are named, the current context
counts (cleatctl context use); if there is none, the socket is that of
/run/cleat/cleat.sock or else of $XDG_RUNTIME_DIR/cleat/cleat.sock. Beside a
context, --endpoints, --cacert, and --cert with --key count instead of what is in
it where they are named at least as strongly: --context on the line is stronger
than CLEATCTL_CERT, the current context weaker than whatever is named. Contexts
lie in $XDG_CONFIG_HOME/cleat/contexts, or else ~/.config/cleat/contexts.`

	toolExit = `0: done. 1: failed, and standard error says why and what to try. 2: the command
line makes no sense, which is found out before anything is sent.`

	toolExamples = `  cleatctl put foo bar
  cleatctl get foo
  cleatctl watch app/ --prefix
  cleatctl invite
  cleatctl get foo --endpoints=10.0.0.1:2379 --cacert=ca.crt --cert=alice.crt --key=alice.key`
)
