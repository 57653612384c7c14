# SPDX-License-Identifier: Apache-2.0

"""What Debian's python3-etcd3 makes of a server: each line is a step and its outcome.

    python3 client.py HOST:PORT DIRECTORY

The directory has the bundle of the client alice.
"""
import io
import re
import sys
import threading

import etcd3
from etcd3 import etcdrpc

address, bundle = sys.argv[1:]
host, port = address.rsplit(":", 1)


def connect(**more):
    return etcd3.client(host=host, port=int(port), timeout=30, ca_cert=bundle + "/ca.crt",
                        cert_key=bundle + "/alice.key", cert_cert=bundle + "/alice.crt", **more)


def plain(value):
    """Without what differs between servers."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    if type(value).__name__ == "KVMetadata":
        return "%s %d %d %d %s" % (value.key, value.create_revision, value.mod_revision, value.version, value.lease_id != 0)
    if hasattr(value, "DESCRIPTOR"):
        return re.sub(r"(cluster_id|member_id|raft_term|ID|token): \S+", r"\1: some", str(value)).replace("\n", " ")
    if isinstance(value, etcd3.events.Event):
        return "%s %s %s %s" % (type(value).__name__, value.key, value.value, value.mod_revision)
    return repr(value)


def step(name, act):
    try:
        said = plain(act())
    except Exception as e:  # whatever it is, both sides must say it
        cause = getattr(e, "details", None)
        said = "%s %s" % (type(e).__name__, cause() if cause else e)
    print("%s: %s" % (name, said))


def keys(c):
    step("put", lambda: c.put("a", "1"))
    step("put and what was there", lambda: c.put("a", "2", prev_kv=True))
    step("get", lambda: c.get("a"))
    step("get nothing", lambda: c.get("none"))
    for k, v in (("p/1", "x"), ("p/2", b"\x00\xff"), ("p/3", ""), ("q", "y")):
        step("put " + k, lambda k=k, v=v: c.put(k, v))
    step("all of a prefix", lambda: list(c.get_prefix("p/")))
    step("the last first", lambda: list(c.get_prefix("p/", sort_order="descend", sort_target="mod")))
    step("a range", lambda: list(c.get_range("p/1", "p/3", sort_order="ascend")))
    step("keys only", lambda: list(c.get_all(keys_only=True)))
    step("the whole answer", lambda: c.get_response("a", serializable=True))
    step("new", lambda: [c.put_if_not_exists("new", "1"), c.put_if_not_exists("new", "2")])
    step("replaced", lambda: [c.replace("new", "1", "2"), c.replace("new", "1", "3")])
    step("delete and what was there", lambda: c.delete("p/1", prev_kv=True, return_response=True))
    step("delete", lambda: [c.delete("p/2"), c.delete("p/2")])
    step("delete a prefix", lambda: c.delete_prefix("p"))
    step("no key", lambda: c.put("", "x"))
    step("compact", lambda: c.compact(4, physical=True))
    step("compact again", lambda: c.compact(4))
    step("compact the future", lambda: c.compact(999))


def transactions(c):
    t = c.transactions

    def one():
        return c.transaction(compare=[t.value("a") == "2", t.version("q") > 0, t.create("none") == 0, t.mod("a") < 100],
                             success=[t.put("t", "then"), t.get("t"), t.txn(compare=[], success=[t.get("a")], failure=[])],
                             failure=[t.get("a"), t.delete("q")])
    step("a transaction", one)
    step("change it", lambda: c.put("a", "3"))
    step("its other branch", one)
    step("a key twice", lambda: c.transaction(compare=[], success=[t.put("t", "1"), t.put("t", "2")], failure=[]))


def leases(c):
    lease = c.lease(1000, lease_id=77)
    step("put with a lease", lambda: c.put("l", "leased", lease=lease))
    step("granted", lambda: [lease.id, lease.granted_ttl, lease.keys])
    step("refresh", lambda: [r.TTL for r in lease.refresh()])
    step("the same again", lambda: c.lease(1000, lease_id=77))
    step("revoke", lease.revoke)
    step("gone with it", lambda: c.get("l"))
    step("revoke twice", lease.revoke)
    step("refresh no more", lambda: [r.TTL for r in lease.refresh()])
    step("put with no lease", lambda: c.put("l", "x", lease=77))


def watches(c):
    events, cancel = c.watch_prefix("w/", prev_kv=True)
    c.put("w/1", "1")
    c.put("w/1", "2")
    c.delete("w/1")
    step("told", lambda: [next(events) for _ in range(3)])
    cancel()
    step("no more", lambda: list(events))
    revision = c.get_response("a").header.revision
    past, cancel = c.watch("w/1", start_revision=revision - 2)
    step("told of the past", lambda: [next(past) for _ in range(3)])
    cancel()
    response, cancel = c.watch_response("w/1", start_revision=revision)
    step("a whole response", lambda: [e for e in next(response).events])
    cancel()
    step("of what is compacted", lambda: next(c.watch("w/1", start_revision=1)[0]))
    told = []
    heard = threading.Event()

    def callback(r):
        told.append(r.events)
        heard.set()
    number = c.add_watch_callback("w/2", callback)
    c.put("w/2", "1")
    heard.wait(30)
    step("called back", lambda: told)
    c.cancel_watch(number)
    step("none in time", lambda: c.watch_once("w/3", timeout=0.01))


def locks(c):
    held, other = c.lock("door", ttl=60), c.lock("door", ttl=60)
    step("lock", held.acquire)
    step("is it ours", lambda: [held.is_acquired(), other.is_acquired()])
    step("lock what is held", lambda: other.acquire(timeout=0))
    step("keep it", lambda: [r.TTL for r in held.refresh()])
    step("let go", held.release)
    step("the other has it", lambda: [other.acquire(timeout=0), other.is_acquired(), held.is_acquired()])
    step("let go of what is another's", held.release)
    step("the other lets go", other.release)

    def inside():
        with c.lock("door") as lock:
            return lock.is_acquired()
    step("in a block", inside)


def users(c):
    auth = etcdrpc.AuthStub(c.channel)
    both = [("root", "root"), ("bob", "writer")]
    for name, role in both:
        step("user", lambda: auth.UserAdd(etcdrpc.AuthUserAddRequest(name=name, password=name)))
        step("role", lambda: auth.RoleAdd(etcdrpc.AuthRoleAddRequest(name=role)))
        step("given", lambda: auth.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user=name, role=role)))
    grant = etcdrpc.AuthRoleGrantPermissionRequest(name="writer")
    grant.perm.permType, grant.perm.key, grant.perm.range_end = 2, b"a", b"b"
    step("grant", lambda: auth.RoleGrantPermission(grant))
    step("log in too early", lambda: connect(user="bob", password="bob"))
    step("enable", lambda: auth.AuthEnable(etcdrpc.AuthEnableRequest()))
    step("wrong password", lambda: connect(user="bob", password="wrong"))
    with connect(user="root", password="root") as root, connect(user="bob", password="bob") as bob:
        step("bob writes", lambda: bob.put("a", "by bob"))
        step("bob may not", lambda: bob.put("z", "by bob"))
        step("bob reads", lambda: bob.get("a"))
        step("bob reads all", lambda: list(bob.get_all()))
        step("bob compacts", lambda: bob.compact(5))
        step("without a login", lambda: c.put("a", "by whom"))
        step("root reads", lambda: root.get("a"))
        events, cancel = bob.watch("a")
        root.put("a", "by root")
        step("bob is told", lambda: next(events))
        cancel()
        off = etcdrpc.AuthStub(root.channel)
        step("disable", lambda: off.AuthDisable(etcdrpc.AuthDisableRequest(), metadata=root.metadata))
    step("anybody", lambda: list(c.get_all()))


def maintenance(c):
    step("members", lambda: [len(list(c.members)), c.status().version != "", c.status().leader is not None])
    step("alarms", lambda: [list(c.list_alarms()), len(list(c.create_alarm())), len(list(c.disarm_alarm()))])
    step("defragment", lambda: c.defragment())
    file = io.BytesIO()
    step("snapshot", lambda: c.snapshot(file))
    step("its size", lambda: len(file.getvalue()) % 512)
    step("hash", lambda: c.hash() != 0)


with connect() as client:
    for scene in (keys, transactions, leases, watches, locks, users, maintenance):
        scene(client)
