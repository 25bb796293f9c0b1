"""Images: pulled, told, listed, removed; and the file system that holds them."""

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

    def test_an_image_is_pulled_by_its_digest(self):
        digest = self.told(BUSYBOX).repo_digests[0]
        self.assertEqual(ask("PullImage", image={"image": digest}).image_ref, self.told(BUSYBOX).id)

    def test_images_that_are_not_there_are_told_and_not_pulled(self):
        self.assertEqual(self.told(ABSENT).id, "")
        with self.assertRaises(grpc.RpcError):
            ask("PullImage", image={"image": ABSENT})
        self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, "PullImage", image={"image": ""})
        ask("RemoveImage", image={"image": ABSENT})

    def test_the_user_of_an_image_is_told(self):
        image = self.told(RELAY)
        self.assertEqual((image.uid.value, image.username, image.pinned), (0, "", False))

    def test_the_file_system_of_images_is_told(self):
        seen = ask("ImageFsInfo")
        self.assertEqual(len(seen.image_filesystems), 1)
        for one in (*seen.image_filesystems, *seen.container_filesystems):
            self.assertTrue(one.fs_id.mountpoint and one.timestamp)
            self.assertGreater(min(one.used_bytes.value, one.inodes_used.value), 0)
