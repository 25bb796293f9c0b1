"""Mounts: who sees what is mounted later, and what is read-only all the way."""

import api_pb2 as cri
import grpc
from peer import HOME, RELAY, Case, ask, eventually


class Mounts(Case):
    """The node's folder HOME/NAME, `/peer/NAME` for `node`, is `/m` in containers."""

    @staticmethod
    def mount(name, **fields):
        return {"container_path": "/m", "host_path": f"{HOME}/{name}"} | fields

    def folder(self, name):
        """An empty folder on the node; all that is mounted in it goes with the case."""
        self.node.said(f"mkdir -p /peer/{name}/sub")
        self.addCleanup(self.node.sh, f"while umount /peer/{name}/sub; do :; done 2> /dev/null; rm -r /peer/{name}")

    def mounted(self, container, path, name):
        """Mounts a file system with a file `name`."""
        container.said(f"mount -t tmpfs tmpfs {path} && touch {path}/{name}")

    def sees(self, container, path):
        return container.sh(f"ls {path}")[1] == 0


class Propagation(Mounts):
    def pair(self, name, propagation):
        """A container that may mount, over an empty folder."""
        self.folder(name)
        mount = self.mount(name, propagation=propagation)
        container = self.pod(security={"privileged": True}).run(security={"privileged": True}, mounts=[mount])
        [told] = container.status().mounts
        self.assertEqual((told.propagation, told.readonly), (propagation, False))
        return container

    def test_private_mounts_pass_nothing_on(self):
        container = self.pair("private", cri.PROPAGATION_PRIVATE)
        self.mounted(self.node, "/peer/private/sub", "of-node")
        self.assertFalse(self.sees(container, "/m/sub/of-node"))
        self.mounted(container, "/m/sub", "of-container")
        self.assertFalse(self.sees(self.node, "/peer/private/sub/of-container"))

    def test_mounts_of_the_node_come_into_the_container(self):
        container = self.pair("slave", cri.PROPAGATION_HOST_TO_CONTAINER)
        self.mounted(self.node, "/peer/slave/sub", "of-node")
        eventually("the node's mount", lambda: self.sees(container, "/m/sub/of-node"))
        self.mounted(container, "/m/sub", "of-container")
        self.assertFalse(self.sees(self.node, "/peer/slave/sub/of-container"))

    def test_mounts_go_both_ways(self):
        container = self.pair("shared", cri.PROPAGATION_BIDIRECTIONAL)
        self.mounted(self.node, "/peer/shared/sub", "of-node")
        eventually("the node's mount", lambda: self.sees(container, "/m/sub/of-node"))
        self.node.said("umount /peer/shared/sub")
        eventually("its end", lambda: not self.sees(container, "/m/sub/of-node"))
        self.mounted(container, "/m/sub", "of-container")
        eventually("the container's mount", lambda: self.sees(self.node, "/peer/shared/sub/of-container"))

    def test_what_is_mounted_in_a_private_mount_beside_a_shared_one_stays_in_the_container(self):
        for name in ("both", "outer", "inner"):
            self.folder(name)
        self.node.said("touch /peer/inner/of-inner")
        mounts = [
            self.mount("both", propagation=cri.PROPAGATION_BIDIRECTIONAL),
            self.mount("outer", container_path="/outer"),
            self.mount("inner", container_path="/outer/sub", readonly=True),
        ]
        container = self.pod(security={"privileged": True}).run(security={"privileged": True}, mounts=mounts)
        self.assertTrue(self.sees(container, "/outer/sub/of-inner"))
        self.assertNotEqual(container.sh("touch /outer/sub/new")[1], 0)
        self.assertEqual(container.sh("touch /outer/new")[1], 0)
        self.assertFalse(self.sees(self.node, "/peer/outer/sub/of-inner"))


class ReadOnly(Mounts):
    def writes(self, name, **fields):
        """Whether a container may write to a folder, and to what is mounted in it."""
        container = self.pod().run(mounts=[self.mount(name, **fields)])
        told = container.status().mounts[0]
        self.assertEqual((told.container_path, told.host_path), ("/m", f"{HOME}/{name}"))
        self.assertEqual(told.recursive_read_only, fields.get("recursive_read_only", False))
        return [container.sh(f"touch {path}/new")[1] == 0 for path in ("/m", "/m/sub")]

    def test_read_only_ends_at_the_next_mount_unless_it_is_recursive(self):
        self.folder("layers")
        self.mounted(self.node, "/peer/layers/sub", "of-node")
        self.assertEqual(self.writes("layers"), [True, True])
        self.assertEqual(self.writes("layers", readonly=True), [False, True])
        self.assertEqual(self.writes("layers", readonly=True, recursive_read_only=True), [False, False])

    def test_volumes_of_an_image_are_written_to_below_a_read_only_root(self):
        security = {"readonly_rootfs": True}
        container = self.pod().run("", security=security, image=RELAY, args=["7100", "7101"])
        root = f"/proc/{container.pid()}/root"
        self.assertNotEqual(self.node.sh(f"touch {root}/new")[1], 0)
        self.assertEqual(self.node.said(f"touch {root}/data/new && ls {root}/data"), "new")
        container.remove()
        # It was nowhere else.
        kept = "find /proc/1/root/var/lib/rk -path '*/data/new' | wc -l"
        self.assertEqual(self.node.said(kept), "0")

    def test_recursion_needs_a_mount_that_is_read_only_and_private(self):
        pod = self.pod()
        for readonly, propagation in (
            (False, cri.PROPAGATION_PRIVATE),
            (True, cri.PROPAGATION_HOST_TO_CONTAINER),
            (True, cri.PROPAGATION_BIDIRECTIONAL),
        ):
            mount = self.mount("refused", readonly=readonly, propagation=propagation, recursive_read_only=True)
            self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, pod.create, mounts=[mount])

    def test_sources_are_made_and_links_are_followed(self):
        self.addCleanup(self.node.sh, "rm -r /peer/made /peer/link /peer/file")
        self.assertEqual(self.pod().run(mounts=[self.mount("made")]).said("touch /m/x; ls /m"), "x")
        self.node.said("ls /peer/made/x && ln -s made /peer/link && echo content > /peer/file")
        self.assertEqual(self.pod().run(mounts=[self.mount("link")]).said("ls /m"), "x")
        self.assertEqual(self.pod().run(mounts=[self.mount("file")]).said("cat /m"), "content")

    def test_images_are_mounted_read_only_whole_and_in_part(self):
        image = "rk.local/relay:test"
        whole = {"container_path": "/whole", "image": {"image": image}, "readonly": True}
        part = {"container_path": "/part", "image": {"image": image}, "image_sub_path": "etc", "readonly": True}
        pod = self.pod()
        container = pod.run(mounts=[whole, part])
        self.assertEqual(container.said("ls /part"), "group\npasswd")
        self.assertNotEqual(container.sh("touch /whole/x")[1], 0)
        # A program of it may be run: this one says how it is used.
        self.assertIn("usage: relay", container.sh("/whole/relay")[0])
        told = {mount.container_path: mount.image.image_ref for mount in container.status().mounts}
        id = ask("ImageStatus", image={"image": image}).image.id
        self.assertEqual(told, {"/whole": id, "/part": id})
        for wrong in ({"image_sub_path": "none"}, {"readonly": False}, {"host_path": HOME}):
            words = self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, pod.create, mounts=[part | wrong])
            self.assertIn("ImageVolumeMountFailed", words)
