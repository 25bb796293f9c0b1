"""What containers may do, and who they are."""

import json

import api_pb2 as cri
import grpc
from peer import HOME, RELAY, Case

ADMIN = {"add_capabilities": ["SYS_ADMIN"]}
RUNTIME_DEFAULT = {"profile_type": cri.SecurityProfile.RuntimeDefault}
UNCONFINED = {"profile_type": cri.SecurityProfile.Unconfined}
# Numbers of capabilities.
CHOWN, NET_ADMIN, SYS_ADMIN = 0, 12, 21


class Confinement(Case):
    def confined(self, **security):
        return self.pod().run(security=security)

    def held(self, container):
        """Numbers of the capabilities in effect, which are those of commands in it, too."""
        first, command = [container.said(f"grep CapEff /proc/{which}/status").split()[1] for which in (1, "self")]
        self.assertEqual(first, command)
        return {number for number in range(64) if int(first, 16) >> number & 1}

    def works(self, container, line):
        return container.sh(line)[1] == 0

    def test_capabilities_are_added_and_dropped(self):
        usual = self.held(self.confined())
        self.assertTrue(CHOWN in usual and NET_ADMIN not in usual)
        more = self.confined(capabilities={"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]})
        self.assertEqual(self.held(more), usual - {CHOWN} | {NET_ADMIN})
        self.assertTrue(self.works(more, "ip link set dev lo mtu 1400"))
        self.assertFalse(self.works(more, "touch /x && chown 1 /x"))
        none = self.confined(capabilities={"drop_capabilities": ["ALL"]})
        self.assertEqual(self.held(none), set())
        self.assertEqual(int(none.said("grep CapBnd /proc/self/status").split()[1], 16), 0)
        every = self.held(self.confined(capabilities={"add_capabilities": ["ALL"]}))
        privileged = self.pod("privileged", security={"privileged": True}).run(security={"privileged": True})
        self.assertEqual(every, self.held(privileged))
        self.assertIn(SYS_ADMIN, every)
        some = {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["ALL"]}
        self.assertEqual(self.held(self.confined(capabilities=some)), {NET_ADMIN})

    def test_a_privileged_container_may_do_what_others_may_not(self):
        line = "mount -t tmpfs tmpfs /tmp && [ -c /dev/kmsg ]"
        self.assertFalse(self.works(self.confined(), line))
        pod = self.pod("privileged", security={"privileged": True})
        self.assertTrue(self.works(pod.run(security={"privileged": True}), line))

    def test_a_root_may_be_read_only(self):
        self.assertTrue(self.works(self.confined(), "touch /x"))
        self.assertFalse(self.works(self.confined(readonly_rootfs=True), "touch /x"))

    def test_paths_are_masked_and_read_only_when_that_was_asked(self):
        write, read = "touch /tmp/x", "grep -q . /proc/cpuinfo"
        free = self.confined()
        self.assertTrue(self.works(free, write) and self.works(free, read))
        bound = self.confined(masked_paths=["/proc/cpuinfo", "/proc/none"], readonly_paths=["/tmp"])
        self.assertFalse(self.works(bound, write) or self.works(bound, read))

    def test_system_calls_are_filtered_by_the_profile(self):
        def mode(container):
            return container.said("grep Seccomp: /proc/1/status").split()[1]

        rename = "hostname renamed"
        default = self.confined(seccomp=RUNTIME_DEFAULT)
        self.assertEqual(mode(default), "2")
        self.assertFalse(self.works(default, "unshare -m true"))
        unconfined = self.confined(seccomp=UNCONFINED, capabilities=ADMIN)
        self.assertEqual(mode(unconfined), "0")
        self.assertTrue(self.works(unconfined, rename))
        rule = {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
        profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
        self.node.said(f"echo '{profile}' > /peer/profile.json")
        local = {"profile_type": cri.SecurityProfile.Localhost, "localhost_ref": f"{HOME}/profile.json"}
        bound = self.confined(seccomp=local, capabilities=ADMIN)
        self.assertFalse(self.works(bound, rename))
        self.assertTrue(self.works(bound, "touch /x"))
        # Who asks for none has none, and who is privileged has none though one was asked for.
        pod = self.pod("privileged", security={"privileged": True})
        for free in (self.confined(), pod.run(security={"privileged": True, "seccomp": local})):
            self.assertEqual(mode(free), "0")
        absent = {"profile_type": cri.SecurityProfile.Localhost, "localhost_ref": f"{HOME}/absent.json"}
        with self.assertRaises(grpc.RpcError):
            self.confined(seccomp=absent)

    def test_a_device_is_used_as_far_as_was_asked(self):
        def asked(permissions):
            device = {"container_path": "/dev/own", "host_path": "/dev/kmsg", "permissions": permissions}
            return self.pod().run(devices=[device])

        write = ": > /dev/own"
        self.assertTrue(self.works(asked("w"), write))
        self.assertFalse(self.works(asked("r"), write))
        # A node may be made of a device that was not asked for, and is of no use.
        other = self.pod().run()
        self.assertTrue(self.works(other, "mknod /dev/own c 1 11"))
        self.assertFalse(self.works(other, write))

    def test_no_new_privileges_are_gained_when_that_was_asked(self):
        line = "grep NoNewPrivs /proc/1/status"
        self.assertEqual(self.confined().said(line).split()[1], "0")
        self.assertEqual(self.confined(no_new_privs=True).said(line).split()[1], "1")


class Identity(Case):
    def groups(self, **security):
        """User, group and groups of the first process of an image that knows the user `peer`, as told and as they are."""
        pod = self.pod()
        container = pod.run("", security=security, image=RELAY, args=["7100", "7101"])
        user = container.status().user.linux
        path = f"/proc/{container.pid()}/status"
        ids = self.node.said(f"grep -E '^(Uid|Gid|Groups):' {path}").splitlines()
        uid, gid, groups = [[int(number) for number in line.split()[1:]] for line in ids]
        self.assertEqual((user.uid, user.gid), (uid[0], gid[0]))
        self.assertEqual(set(user.supplemental_groups), set(groups))
        return uid[0], gid[0], set(groups)

    def test_users_are_numbers_or_names(self):
        container = self.pod().run(security={"run_as_user": {"value": 1234}, "run_as_group": {"value": 77}})
        self.assertEqual(container.said("id -u; id -g"), "1234\n77")
        grouped = self.pod().run(security={"supplemental_groups": [1234, 5678]})
        self.assertLessEqual({"1234", "5678"}, set(grouped.said("id -G").split()))
        self.assertEqual(self.groups(run_as_username="peer")[:2], (1000, 1000))
        self.assertEqual(self.groups(run_as_user={"value": 1000})[:2], (1000, 1000))
        self.assertEqual(self.groups()[:2], (0, 0))

    def test_a_group_needs_a_user_and_a_name_must_be_there(self):
        pod = self.pod()
        for security in ({"run_as_group": {"value": 77}}, {"run_as_username": "nonesuch"}):
            with self.assertRaises(grpc.RpcError):
                pod.create(security=security)

    def test_groups_of_the_image_count_unless_the_policy_is_strict(self):
        peer = {"run_as_user": {"value": 1000}, "supplemental_groups": [1234]}
        merged = self.groups(**peer, supplemental_groups_policy=cri.Merge)
        self.assertEqual(merged, (1000, 1000, {1000, 50000, 1234}))
        strict = self.groups(**peer, supplemental_groups_policy=cri.Strict)
        self.assertEqual(strict, (1000, 1000, {1000, 1234}))


class Users(Case):
    IDS = {"host_id": 1000, "container_id": 0, "length": 100000}

    def users(self, mode, *ids):
        return {"userns_options": {"mode": mode, "uids": ids, "gids": ids}}

    def map(self, *namespaces):
        """Which ids of the node those of a container are."""
        return self.pod("users", *namespaces).run().said("cat /proc/self/uid_map").split()

    def test_ids_are_the_pod_s_own_or_the_node_s(self):
        self.assertEqual(self.map(self.users(cri.POD, self.IDS)), ["0", "1000", "100000"])
        node = self.node.said("cat /proc/self/uid_map").split()
        self.assertEqual((self.map(), self.map(self.users(cri.NODE))), (node, node))

    def test_ids_that_are_of_no_use_are_refused(self):
        for users in (
            self.users(cri.POD, self.IDS, self.IDS | {"host_id": 2000}),
            self.users(cri.POD, self.IDS | {"container_id": 1}),
            self.users(cri.CONTAINER),
            self.users(cri.TARGET),
        ):
            self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, self.pod, "users", users)
