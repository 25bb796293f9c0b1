"""Containers: their life, ends, signals and limits."""

import threading

import api_pb2 as cri
import grpc
from peer import HOME, LABEL, PATIENCE, Case, ask, eventually

STUBBORN = "trap '' TERM; while :; do sleep 0.1; done"


class Life(Case):
    def listed(self, **filter):
        return [container.id for container in ask("ListContainers", filter=filter).containers]

    def test_a_container_is_created_started_stopped_and_removed(self):
        pod = self.pod()
        container = pod.create(labels={LABEL: pod.uid}, annotations={"note": "kept"})
        status = container.status()
        self.assertEqual((status.state, status.started_at), (cri.CONTAINER_CREATED, 0))
        self.assertEqual((dict(status.labels), dict(status.annotations)), ({LABEL: pod.uid}, {"note": "kept"}))
        self.assertTrue(status.created_at and status.image_ref and status.image_id)
        container.start()
        self.assertEqual(container.status().state, cri.CONTAINER_RUNNING)
        self.assertGreaterEqual(container.status().started_at, status.created_at)
        self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, container.start)
        for _ in range(2):
            container.stop()
            status = container.status()
            self.assertEqual((status.state, status.exit_code), (cri.CONTAINER_EXITED, 137))
            self.assertGreaterEqual(status.finished_at, status.started_at)
        for _ in range(2):
            container.remove()
            self.assertRefused(grpc.StatusCode.NOT_FOUND, container.status)
        container.stop()

    def test_containers_are_listed_by_all_that_is_known(self):
        pod, other = self.pod(), self.pod("other")
        created, running = pod.create(labels={LABEL: "created"}), pod.run(labels={LABEL: "running"})
        stranger = other.run()
        everything = self.listed()
        for container in (created, running, stranger):
            self.assertIn(container.id, everything)
        self.assertEqual(set(self.listed(pod_sandbox_id=pod.id)), {created.id, running.id})
        self.assertEqual(self.listed(id=running.id), [running.id])
        self.assertEqual(self.listed(pod_sandbox_id=pod.id, label_selector={LABEL: "created"}), [created.id])
        state = {"state": cri.CONTAINER_RUNNING}
        self.assertEqual(self.listed(pod_sandbox_id=pod.id, state=state), [running.id])

    def test_what_was_never_started_or_still_runs_can_be_removed(self):
        pod = self.pod()
        for container in (pod.create(), pod.run()):
            container.remove()
            self.assertRefused(grpc.StatusCode.NOT_FOUND, container.status)

    def test_words_variables_and_folders_are_as_asked(self):
        envs = [{"key": "WORD", "value": b"a b"}, {"key": "NONE", "value": b""}]
        container = self.pod().run(envs=envs, working_dir="/made/for/it", command=["sleep"], args=["3600"])
        self.assertEqual(container.said('echo "$WORD,$NONE,${ABSENT-unset}"; pwd'), "a b,,unset\n/made/for/it")
        self.assertEqual(container.said("tr '\\0' ' ' < /proc/1/cmdline"), "sleep 3600")

    def test_variables_need_not_be_text(self):
        container = self.pod().run(envs=[{"key": "RAW", "value": b"a\xff\xfe\xc3"}])
        said = container.exec("/bin/sh", "-c", 'echo -n "$RAW"').stdout
        self.assertEqual(said, b"a\xff\xfe\xc3")
        environ = container.exec("/bin/cat", "/proc/1/environ").stdout
        self.assertIn(b"RAW=a\xff\xfe\xc3", environ.split(b"\0"))

    def test_the_same_container_is_not_made_twice_and_images_must_be_there(self):
        pod = self.pod()
        first = pod.create()
        name = first.status().metadata.name
        same = {"metadata": {"name": name, "attempt": 0}}
        self.assertIn(first.id, self.assertRefused(grpc.StatusCode.ALREADY_EXISTS, pod.create, **same))
        pod.create(metadata={"name": name, "attempt": 1})
        self.assertRefused(grpc.StatusCode.NOT_FOUND, pod.create, image="rk.local/none:such")
        self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, pod.create, metadata={"name": ""})


class Ends(Case):
    def test_ends_are_told_apart(self):
        pod = self.pod()
        cases = {
            "true": (0, "Completed"),
            "exit 7": (7, "Error"),
            "trap 'exit 9' TERM; kill -TERM $$; sleep 1": (9, "Error"),
            "sh -c 'kill -9 $$'; exit $?": (137, "Error"),
        }
        running = {script: pod.run(script) for script in cases}
        for script, container in running.items():
            status = container.ended()
            self.assertEqual((status.exit_code, status.reason), cases[script], script)
            self.assertGreater(status.finished_at, status.started_at, script)

    def test_too_much_memory_is_a_reason(self):
        resources = {"memory_limit_in_bytes": 16 << 20, "memory_swap_limit_in_bytes": 16 << 20}
        status = self.pod().run("tail /dev/zero", resources=resources).ended()
        self.assertEqual((status.exit_code, status.reason), (137, "OOMKilled"))

    def test_a_program_that_is_not_there_is_told_at_the_start(self):
        container = self.pod().create(command=["/nonesuch"])
        with self.assertRaises(grpc.RpcError) as refused:
            container.start()
        self.assertIn("/nonesuch", refused.exception.details())
        status = container.status()
        self.assertEqual((status.state, status.exit_code, status.reason), (cri.CONTAINER_EXITED, 128, "StartError"))
        self.assertIn("/nonesuch", status.message)

    def test_a_stop_waits_for_its_time_and_no_longer(self):
        pod = self.pod()
        polite = pod.run("trap 'exit 4' TERM; touch /set; while :; do sleep 0.1; done")
        stubborn = pod.run(f"touch /set; {STUBBORN}")
        for container, timeout, code in ((polite, PATIENCE, 4), (stubborn, 1, 137)):
            eventually("its trap", lambda: container.sh("ls /set")[1] == 0)
            container.stop(timeout)
            self.assertEqual(container.status().exit_code, code)

    def test_it_is_asked_to_stop_once_however_often_that_is_said(self):
        container = self.pod().run("trap 'echo asked' TERM; touch /set; while :; do sleep 0.1; done")
        log = container.status().log_path.replace(HOME, "/peer")
        eventually("its trap", lambda: container.sh("ls /set")[1] == 0)
        patient = threading.Thread(target=container.stop, args=(PATIENCE,))
        patient.start()
        eventually("its signal", lambda: self.node.sh(f"grep asked {log}")[1] == 0)
        container.stop(2)
        patient.join()
        self.assertEqual((self.node.said(f"grep -c asked {log}"), container.status().exit_code), ("1", 137))


class Signals(Case):
    # What it dies of when nothing traps it is not told here: it traps three signals.
    TRAPS = "trap 'exit 10' TERM; trap 'exit 11' QUIT; trap 'exit 12' USR1; touch /set; while :; do sleep 0.1; done"

    def stopped(self, **fields):
        container = self.pod().run(self.TRAPS, **fields)
        told = container.status().stop_signal
        eventually("its traps", lambda: container.sh("ls /set")[1] == 0)
        container.stop(PATIENCE)
        return cri.Signal.Name(told), container.status().exit_code

    def test_the_container_s_wish_comes_first(self):
        self.assertEqual(self.stopped(), ("SIGTERM", 10))
        self.assertEqual(self.stopped(stop_signal=cri.SIGUSR1), ("SIGUSR1", 12))

    def test_the_image_s_wish_comes_next(self):
        image = "rk.local/nginx:demo"
        ask("PullImage", image={"image": image})
        pod = self.pod()
        told = pod.create("", image=image).status().stop_signal
        self.assertEqual(cri.Signal.Name(told), "SIGQUIT")
        told = pod.create("", image=image, stop_signal=cri.SIGRTMINPLUS3).status().stop_signal
        self.assertEqual(cri.Signal.Name(told), "SIGRTMINPLUS3")


class Updates(Case):
    FILES = "cd /sys/fs/cgroup; cat memory.max cpu.weight; cut -d ' ' -f 1 cpu.max"

    def test_limits_change_and_what_is_not_said_stays(self):
        first = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 1024, "cpu_period": 100000, "cpu_quota": 50000}
        container = self.pod().run(resources=first)
        memory, weight, quota = container.said(self.FILES).split()
        self.assertEqual((memory, quota), (str(64 << 20), "50000"))
        ask("UpdateContainerResources", container_id=container.id, linux={"memory_limit_in_bytes": 48 << 20})
        self.assertEqual(container.said(self.FILES).split(), [str(48 << 20), weight, "50000"])
        more = {"cpu_shares": 4096, "cpu_period": 100000, "cpu_quota": 25000}
        ask("UpdateContainerResources", container_id=container.id, linux=more)
        after = container.said(self.FILES).split()
        self.assertEqual((after[0], after[2]), (str(48 << 20), "25000"))
        self.assertGreater(int(after[1]), int(weight))
        told = container.status().resources.linux
        self.assertEqual((told.memory_limit_in_bytes, told.cpu_shares, told.cpu_quota), (48 << 20, 4096, 25000))

    def test_every_limit_holds_from_the_start_and_changes_alone(self):
        # Of what is left out here the case above tells.
        first = {"cpuset_cpus": "0", "oom_score_adj": 900, "unified": {"pids.max": "77"}}
        container = self.pod().run(resources=first)
        look = "cd /sys/fs/cgroup; cat cpuset.cpus pids.max memory.low /proc/1/oom_score_adj"
        self.assertEqual(container.said(look).split(), ["0", "77", "0", "900"])
        more = {"unified": {"memory.low": str(4 << 20)}, "oom_score_adj": 100}
        ask("UpdateContainerResources", container_id=container.id, linux=more)
        self.assertEqual(container.said(look).split(), ["0", "77", str(4 << 20), "900"])

    def test_what_has_ended_is_not_changed(self):
        container = self.pod().run("true")
        container.ended()
        change = {"container_id": container.id, "linux": {"cpu_shares": 10}}
        self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, "UpdateContainerResources", **change)

    def test_a_container_that_was_not_started_begins_with_what_it_was_updated_to(self):
        container = self.pod().create(resources={"memory_limit_in_bytes": 64 << 20})
        ask("UpdateContainerResources", container_id=container.id, linux={"memory_limit_in_bytes": 32 << 20})
        container.start()
        self.assertEqual(container.said("cat /sys/fs/cgroup/memory.max"), str(32 << 20))

    def test_resources_of_a_pod_are_taken(self):
        pod = self.pod()
        ask("UpdatePodSandboxResources", pod_sandbox_id=pod.id, resources={"cpu_shares": 512}, overhead={})
