"""Images: pulled, told, listed, removed; and the file system that holds them."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from peer import BUSYBOX, RELAY, Case, ask

NGINX = "rk.local/nginx:demo"
ABSENT = "rk.local/none:such"


class Images(Case):
    def told(self, name):
        return ask("ImageStatus", image={"image": name}).image

    def listed(self, name=""):
        return [image.id for image in ask("ListImages", filter={"image": {"image": name}}).images]

    def test_an_image_is_pulled_told_listed_and_removed(self):
        ask("RemoveImage", image={"image": NGINX})
        self.assertEqual((self.told(NGINX).id, self.listed(NGINX)), ("", []))
        first = ask("PullImage", image={"image": NGINX}).image_ref
        self.assertEqual(ask("PullImage", image={"image": NGINX}).image_ref, first)
        image = self.told(NGINX)
        self.assertEqual((image.id, list(image.repo_tags)), (first, [NGINX]))
        self.assertTrue(image.size and image.repo_digests)
        for name in (image.id, image.repo_digests[0]):
            self.assertEqual(self.told(name).id, first)
        self.assertEqual((self.listed(NGINX), self.listed().count(first)), ([first], 1))
        self.assertIn("info", ask("ImageStatus", image={"image": NGINX}, verbose=True).info)
        for _ in range(2):
            ask("RemoveImage", image={"image": NGINX})
            self.assertEqual((self.told(NGINX).id, self.listed(NGINX)), ("", []))

    def pulled(self, name):
        """The ID of an image, which goes with the case."""
        self.addCleanup(ask, "RemoveImage", image={"image": name})
        return ask("PullImage", image={"image": name}).image_ref

    def test_an_image_is_pulled_by_its_digest(self):
        before = self.told(BUSYBOX)
        digest = before.repo_digests[0]
        self.assertEqual(ask("PullImage", image={"image": digest}).image_ref, before.id)
        # The tag beside it says nothing.
        both = digest.replace("@", ":other@")
        self.assertEqual(ask("PullImage", image={"image": both}).image_ref, before.id)
        self.assertEqual((self.told(both).id, self.told(BUSYBOX).repo_tags), (before.id, before.repo_tags))

    def test_an_image_has_the_names_that_it_was_pulled_by(self):
        id = self.pulled("rk.local/two")
        image = self.told("rk.local/two")
        self.assertEqual((image.id, list(image.repo_tags)), (id, ["rk.local/two:latest"]))
        for name in (id, *image.repo_tags, *image.repo_digests):
            self.assertEqual(self.told(name), image, name)
        # By its ID it goes with all of its names.
        ask("RemoveImage", image={"image": id})
        [digest] = image.repo_digests
        self.assertEqual((self.told("rk.local/two").id, self.told(digest).id), ("", ""))
        self.assertEqual(self.pulled(digest), id)
        image = self.told(digest)
        self.assertEqual((list(image.repo_tags), list(image.repo_digests)), ([], [digest]))

    def test_an_image_that_many_remove_at_once_is_gone_for_each(self):
        id = self.pulled("rk.local/three:latest")

        def left(_):
            ask("RemoveImage", image={"image": id})
            return self.told(id).id

        with ThreadPoolExecutor(5) as many:
            self.assertEqual(list(many.map(left, range(5))), [""] * 5)

    def test_names_of_one_image_are_told_together_and_those_of_several_apart(self):
        together = [f"rk.local/same:{tag}" for tag in (1, 2, 3)]
        [same] = {self.pulled(name) for name in together}
        self.assertEqual(sorted(self.told(same).repo_tags), together)
        apart = {self.pulled(name): name for name in (f"rk.local/{word}:latest" for word in ("one", "two", "three"))}
        listed = {image.id: list(image.repo_tags) for image in ask("ListImages").images}
        self.assertEqual({id: listed[id] for id in apart}, {id: [name] for id, name in apart.items()})

    def test_an_image_has_one_id_wherever_it_came_from_and_whatever_tells_it(self):
        self.assertEqual(self.pulled("rk.local/same:1"), self.pulled("other.local/same:1"))
        id = self.told(RELAY).id
        container = self.pod().create("", image=id)
        [listed] = ask("ListContainers", filter={"id": container.id}).containers
        self.assertEqual((container.status().image_id, listed.image_id), (id, id))
        self.assertEqual((container.status().image.image, listed.image.image), (RELAY, id))

    def test_images_that_are_not_there_are_told_and_not_pulled(self):
        self.assertEqual(self.told(ABSENT).id, "")
        with self.assertRaises(grpc.RpcError):
            ask("PullImage", image={"image": ABSENT})
        self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, "PullImage", image={"image": ""})
        ask("RemoveImage", image={"image": ABSENT})

    def test_the_user_of_an_image_is_told(self):
        image = self.told(RELAY)
        self.assertEqual((image.uid.value, image.username, image.pinned), (0, "", False))
        users = {"uid": (1002, ""), "uid-group": (1003, ""), "name": (0, "www-data"), "name-group": (0, "www-data")}
        for tag, told in users.items():
            image = self.told(self.pulled(f"rk.local/user:{tag}"))
            self.assertEqual((image.uid.value, image.username), told, tag)

    def test_the_file_system_of_images_is_told(self):
        seen = ask("ImageFsInfo")
        self.assertEqual(len(seen.image_filesystems), 1)
        for one in (*seen.image_filesystems, *seen.container_filesystems):
            self.assertTrue(one.fs_id.mountpoint and one.timestamp)
            self.assertGreater(min(one.used_bytes.value, one.inodes_used.value), 0)
