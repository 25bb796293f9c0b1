"""What the runtime tells of itself, and the events of what it runs."""

import api_pb2 as cri
import grpc
from peer import Case, ask, eventually


class Status(Case):
    def test_versions_are_told(self):
        seen = ask("Version", version="0.1.0")
        self.assertEqual((seen.version, seen.runtime_name, seen.runtime_api_version), ("0.1.0", "rk", "v1"))
        self.assertTrue(seen.runtime_version)

    def test_conditions_and_handlers_are_told(self):
        seen = ask("Status")
        conditions = {condition.type: condition.status for condition in seen.status.conditions}
        self.assertEqual(conditions, {"RuntimeReady": True, "NetworkReady": True})
        handlers = {handler.name: handler.features for handler in seen.runtime_handlers}
        self.assertEqual(set(handlers), {"", "rk"})
        for features in handlers.values():
            self.assertTrue(features.recursive_read_only_mounts and features.user_namespaces)
        self.assertTrue(seen.features.supplemental_groups_policy)
        self.assertFalse(seen.info)
        self.assertTrue(ask("Status", verbose=True).info)

    def test_the_cgroup_driver_is_told_and_a_pod_cidr_is_taken(self):
        self.assertEqual(ask("RuntimeConfig").linux.cgroup_driver, cri.CGROUPFS)
        ask("UpdateRuntimeConfig", runtime_config={"network_config": {"pod_cidr": "10.244.0.0/24"}})

    def test_what_is_not_there_is_not_found(self):
        missing = grpc.StatusCode.NOT_FOUND
        self.assertRefused(missing, "PodSandboxStatus", pod_sandbox_id="none")
        self.assertRefused(missing, "ContainerStatus", container_id="none")
        self.assertRefused(missing, "StartContainer", container_id="none")
        self.assertRefused(missing, "ExecSync", container_id="none", cmd=["true"])
        self.assertRefused(missing, "ContainerStats", container_id="none")

    def test_what_cannot_be_done_is_unimplemented(self):
        container = self.pod().run()
        checkpoint = {"container_id": container.id, "location": "/tmp/none"}
        self.assertRefused(grpc.StatusCode.UNIMPLEMENTED, "CheckpointContainer", **checkpoint)


class Events(Case):
    def test_each_step_of_a_container_is_an_event(self):
        stream = ask("GetContainerEvents")
        # The answer's head: from now on nothing is missed.
        stream.initial_metadata()
        pod = self.pod()
        container = pod.run("until [ -e /go ]; do sleep 0.1; done; exit 3")
        container.said("touch /go")
        container.ended()
        container.remove()
        pod.remove()
        seen = {container.id: [], pod.id: []}
        last = None
        for event in stream:
            if event.container_id in seen:
                seen[event.container_id].append(cri.ContainerEventType.Name(event.container_event_type))
            if event.container_id == container.id and event.container_event_type == cri.CONTAINER_STOPPED_EVENT:
                last = event
            if event.container_id == pod.id and event.container_event_type == cri.CONTAINER_DELETED_EVENT:
                break
        stream.cancel()
        steps = [f"CONTAINER_{step}_EVENT" for step in ("CREATED", "STARTED", "STOPPED", "DELETED")]
        self.assertEqual(seen, {container.id: steps, pod.id: steps})
        self.assertEqual([one.pod_sandbox_status.metadata.uid for one in (last, event)], [pod.uid, pod.uid])
        codes = [status.exit_code for status in last.containers_statuses if status.id == container.id]
        self.assertEqual(codes, [3])

    def test_lists_come_as_streams_too(self):
        pod = self.pod()
        container = pod.run()
        wanted = {"id": container.id}

        def ids(answers, field):
            return [one.id for answer in answers for one in getattr(answer, field)]

        pods = ask("StreamPodSandboxes", filter={"id": pod.id})
        self.assertEqual(ids(pods, "pod_sandboxes"), [pod.id])
        self.assertEqual(ids(ask("StreamContainers", filter=wanted), "containers"), [container.id])
        eventually("an image in the stream", lambda: ids(ask("StreamImages"), "images"))
