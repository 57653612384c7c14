// SPDX-License-Identifier: Apache-2.0

// Package auth knows who may touch which keys: users, their roles, and what a
// role permits, with etcd's rules.
//
// [Rules] are replicated and immutable: a change writes its records into the
// batch being applied and returns the rules after it, so that readers decide by
// a whole set of rules and never by half of one. Each change but the enabling
// itself raises the auth revision; a right that was established at an older
// revision is refused with [ErrOldRevision], and the client asks anew.
//
// [Passwords] hashes and checks passwords, at a pace that leaves the processor
// to others. [Tokens] are the simple tokens that this member knows of; they are
// agreed upon but kept in memory only, as in etcd. [JWT] makes and reads tokens
// that carry their own proof.
//
// Neighbours: state carries out the changes and asks before it reads or writes;
// api asks who a token stands for.
package auth
