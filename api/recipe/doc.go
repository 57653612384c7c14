// SPDX-License-Identifier: Apache-2.0

// Package recipe is the protocol of etcd's lock and election services, with the
// code generated from it: what a client may ask for that is more than one
// request on keys. Names and numbers are etcd's, so they never change.
//
// The services themselves are in api.
package recipe

//go:generate ./generate.sh
