// SPDX-License-Identifier: Apache-2.0

// Package file reads and writes the file that an etcd snapshot is: pages as
// bbolt lays them out, and a SHA-256 of them at the end.
//
//	page 0, 1   meta: page size, root, number of pages, transaction, checksum
//	page 2      free list (empty: we write each page once)
//	page 3…     leaves and branches of one tree a bucket, children first
//	…           the root: a leaf with the name of each bucket and its tree
//	32 bytes    SHA-256 of all pages; a file of etcd's own directory has none
//
// A page begins with its number, kind, how many elements it has and how many
// pages follow as a part of it; then come the elements, 16 bytes each, which say
// where in the page their keys and values lie. All numbers are little-endian.
//
// bbolt itself is not used. It trusts what it reads and ends the process over a
// damaged page, while a snapshot comes from wherever people keep backups. And it
// writes trees by inserting into them, while a snapshot is written in order: here
// a page is written once, when it is full, with one page a level in memory.
//
// What holds: a [Reader] returns an error for any bytes whatever. The package
// knows the names that etcd gives to its buckets, not what lies in them; backup
// above does.
package file
