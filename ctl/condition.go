// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// readCondition reads a line like
//
//	mod("key") > "0"
func readCondition(line string) (clientv3.Cmp, error) {
	target, rest, found := strings.Cut(line, "(")
	key, rest, ok := quotation(rest)
	rest, closed := strings.CutPrefix(strings.TrimSpace(rest), ")")
	rest = strings.TrimSpace(rest)
	value := strings.TrimLeft(rest, "=!<>")
	relation := rest[:len(rest)-len(value)]
	value, end, quoted := quotation(strings.TrimSpace(value))
	switch relation {
	case "=", "!=", "<", ">":
	default:
		ok = false
	}
	if !found || !ok || !closed || !quoted || strings.TrimSpace(end) != "" {
		return clientv3.Cmp{}, misuse("%q is no condition: write one like mod(\"KEY\") > \"0\"", line)
	}
	return compare(strings.TrimSpace(target), key, relation, value)
}

func quotation(text string) (value, rest string, ok bool) {
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", text, false
	}
	value, err = strconv.Unquote(quoted)
	return value, text[len(quoted):], err == nil
}

// compare knows etcdctl's names and short names of what can be compared.
func compare(target, key, relation, value string) (clientv3.Cmp, error) {
	switch target {
	case "val", "value":
		return clientv3.Compare(clientv3.Value(key), relation, value), nil
	case "lease":
		id, err := leaseID(value)
		return clientv3.Compare(clientv3.LeaseValue(key), relation, int64(id)), err
	}
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return clientv3.Cmp{}, misuse("%s(%q) is compared with a number, not %q", target, key, value)
	}
	switch target {
	case "ver", "version":
		return clientv3.Compare(clientv3.Version(key), relation, number), nil
	case "c", "create":
		return clientv3.Compare(clientv3.CreateRevision(key), relation, number), nil
	case "m", "mod":
		return clientv3.Compare(clientv3.ModRevision(key), relation, number), nil
	}
	return clientv3.Cmp{}, misuse("%q cannot be compared: use value, version, create, mod or lease", target)
}
