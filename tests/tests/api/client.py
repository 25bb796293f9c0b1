"""What the Python client sees of the API. The namespace `python` is empty; KUBECONFIG names the operator's kubeconfig."""

import unittest

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "python"


def config_map(name, data=None, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def deployment(name, replicas=0):
    labels = {"app": name}
    container = client.V1Container(name="main", image="example.com/one", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        config.load_kube_config()
        cls.core = client.CoreV1Api()
        cls.apps = client.AppsV1Api()

    def test_objects_are_created_read_replaced_and_deleted(self):
        made = self.core.create_namespaced_config_map(NAMESPACE, config_map("crud", {"a": "1"}))
        self.assertTrue(made.metadata.uid and made.metadata.creation_timestamp)
        made.data["a"] = "2"
        replaced = self.core.replace_namespaced_config_map("crud", NAMESPACE, made)
        self.assertNotEqual(replaced.metadata.resource_version, made.metadata.resource_version)
        with self.assertRaises(ApiException) as stale:
            self.core.replace_namespaced_config_map("crud", NAMESPACE, made)
        self.assertEqual(stale.exception.status, 409)
        self.assertEqual(self.core.read_namespaced_config_map("crud", NAMESPACE).data, {"a": "2"})
        self.core.delete_namespaced_config_map("crud", NAMESPACE)
        with self.assertRaises(ApiException) as gone:
            self.core.read_namespaced_config_map("crud", NAMESPACE)
        self.assertEqual(gone.exception.status, 404)

    def test_a_refusal_names_fields(self):
        wrong = client.V1Pod(metadata=client.V1ObjectMeta(name="wrong"), spec=client.V1PodSpec(containers=[]))
        with self.assertRaises(ApiException) as refused:
            self.core.create_namespaced_pod(NAMESPACE, wrong)
        self.assertEqual(refused.exception.status, 422)
        self.assertIn("spec.containers", refused.exception.body)

    def test_patches_of_every_kind(self):
        self.apps.create_namespaced_deployment(NAMESPACE, deployment("patched"))
        # A dictionary goes out as a strategic merge patch, a list as a JSON patch.
        side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "example.com/two"}]}}}}
        merged = self.apps.patch_namespaced_deployment("patched", NAMESPACE, side)
        self.assertEqual({c.name for c in merged.spec.template.spec.containers}, {"main", "side"})
        steps = [{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]
        self.assertEqual(self.apps.patch_namespaced_deployment("patched", NAMESPACE, steps).metadata.labels, {"x": "y"})
        failing = [{"op": "test", "path": "/spec/replicas", "value": 7}]
        with self.assertRaises(ApiException) as failed:
            self.apps.patch_namespaced_deployment("patched", NAMESPACE, failing)
        self.assertEqual(failed.exception.status, 422)
        scale = self.apps.read_namespaced_deployment_scale("patched", NAMESPACE)
        # Zero is not written.
        self.assertFalse(scale.spec.replicas)
        self.apps.patch_namespaced_deployment_scale("patched", NAMESPACE, {"spec": {"replicas": 2}})
        self.assertEqual(self.apps.read_namespaced_deployment("patched", NAMESPACE).spec.replicas, 2)

    def test_lists_are_paged_and_selected(self):
        for number in range(12):
            labels = {"parity": "even" if number % 2 == 0 else "odd", "of": "pages"}
            self.core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number:02}", labels=labels))
        names, token = [], None
        while token != "":
            page = self.core.list_namespaced_config_map(NAMESPACE, label_selector="of=pages", limit=5, _continue=token)
            self.assertLessEqual(len(page.items), 5)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue or ""
        self.assertEqual(names, [f"page-{number:02}" for number in range(12)])
        odd = self.core.list_namespaced_config_map(NAMESPACE, label_selector="of=pages,parity notin (even)")
        self.assertEqual(len(odd.items), 6)
        one = self.core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=page-03")
        self.assertEqual([item.metadata.name for item in one.items], ["page-03"])
        self.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="of=pages")
        self.assertEqual(self.core.list_namespaced_config_map(NAMESPACE, label_selector="of=pages").items, [])

    def test_a_watch_tells_what_happens_after_a_list(self):
        start = self.core.list_namespaced_secret(NAMESPACE).metadata.resource_version
        secret = client.V1Secret(metadata=client.V1ObjectMeta(name="watched"), string_data={"k": "v"})
        self.core.create_namespaced_secret(NAMESPACE, secret)
        self.core.patch_namespaced_secret("watched", NAMESPACE, {"metadata": {"labels": {"seen": "yes"}}})
        self.core.delete_namespaced_secret("watched", NAMESPACE)
        seen = []
        stream = watch.Watch()
        for event in stream.stream(self.core.list_namespaced_secret, NAMESPACE, resource_version=start, timeout_seconds=30):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                stream.stop()
        self.assertEqual(seen, [(kind, "watched") for kind in ("ADDED", "MODIFIED", "DELETED")])

    def test_the_dynamic_client_discovers_and_applies(self):
        found = dynamic.DynamicClient(client.ApiClient())
        resource = found.resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"mine": "1"}}
        made = found.server_side_apply(resource, body, "applied", NAMESPACE, field_manager="first")
        self.assertEqual(made.data.mine, "1")
        body["data"]["mine"] = "2"
        with self.assertRaises(ApiException) as conflict:
            found.server_side_apply(resource, body, "applied", NAMESPACE, field_manager="second")
        self.assertEqual(conflict.exception.status, 409)
        taken = found.server_side_apply(resource, body, "applied", NAMESPACE, field_manager="second", force_conflicts=True)
        self.assertEqual(taken.data.mine, "2")
        managers = {entry["manager"] for entry in taken.to_dict()["metadata"]["managedFields"]}
        self.assertEqual(managers, {"second"})

    def test_a_dry_run_stores_nothing(self):
        made = self.core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
        self.assertTrue(made.metadata.uid)
        with self.assertRaises(ApiException) as gone:
            self.core.read_namespaced_config_map("dry", NAMESPACE)
        self.assertEqual(gone.exception.status, 404)

    def test_versions_and_rights_are_told(self):
        self.assertEqual(client.VersionApi().get_code().minor, "36")
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(
                resource_attributes=client.V1ResourceAttributes(verb="delete", resource="nodes")
            )
        )
        self.assertTrue(client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed)


if __name__ == "__main__":
    unittest.main()
