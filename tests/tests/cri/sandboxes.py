"""Pods: their life, namespaces and ports."""

import api_pb2 as cri
import grpc
from peer import LABEL, PATIENCE, Case, ask, eventually


class Life(Case):
    def listed(self, **filter):
        return [pod.id for pod in ask("ListPodSandbox", filter=filter).items]

    def test_a_pod_is_run_told_and_listed(self):
        pod = self.pod(annotations={"note": "kept"})
        status = pod.status()
        self.assertEqual(status.state, cri.SANDBOX_READY)
        self.assertEqual((status.metadata.name, status.metadata.uid), ("peer", pod.uid))
        self.assertEqual((dict(status.labels), dict(status.annotations)), ({LABEL: pod.uid}, {"note": "kept"}))
        self.assertTrue(status.created_at and status.network.ip)
        [listed] = ask("ListPodSandbox", filter={"id": pod.id}).items
        for field in ("id", "metadata", "state", "created_at"):
            self.assertEqual(getattr(listed, field), getattr(status, field), field)
        for field in ("labels", "annotations"):
            self.assertEqual(dict(getattr(listed, field)), dict(getattr(status, field)), field)
        self.assertEqual(self.listed(label_selector={LABEL: pod.uid}), [pod.id])
        self.assertEqual(self.listed(label_selector={LABEL: "another"}), [])
        self.assertEqual(self.listed(id=pod.id, state={"state": cri.SANDBOX_NOTREADY}), [])
        twice = self.assertRefused(grpc.StatusCode.ALREADY_EXISTS, "RunPodSandbox", config=pod.config)
        self.assertIn(pod.id, twice)

    def test_stopping_and_removing_can_be_repeated(self):
        pod = self.pod()
        container = pod.run()
        for _ in range(2):
            ask("StopPodSandbox", pod_sandbox_id=pod.id)
            self.assertEqual(pod.status().state, cri.SANDBOX_NOTREADY)
            self.assertEqual(container.status().state, cri.CONTAINER_EXITED)
        self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, pod.create)
        for _ in range(2):
            ask("RemovePodSandbox", pod_sandbox_id=pod.id)
            self.assertRefused(grpc.StatusCode.NOT_FOUND, pod.status)
            self.assertRefused(grpc.StatusCode.NOT_FOUND, container.status)
            self.assertEqual(self.listed(id=pod.id), [])
        ask("StopPodSandbox", pod_sandbox_id=pod.id)

    def test_a_running_pod_is_removed_with_its_containers(self):
        pod = self.pod()
        container = pod.run()
        ask("RemovePodSandbox", pod_sandbox_id=pod.id)
        self.assertRefused(grpc.StatusCode.NOT_FOUND, container.status)

    def test_names_resolvers_and_sysctls_are_as_asked(self):
        dns = {"servers": ["10.96.0.10"], "searches": ["peer.example"], "options": ["ndots:7"]}
        pod = self.pod("named", dns_config=dns)
        container = pod.run()
        self.assertEqual(container.said("hostname"), "named")
        lines = container.said("cat /etc/resolv.conf").splitlines()
        self.assertEqual(lines, ["search peer.example", "nameserver 10.96.0.10", "options ndots:7"])
        inherited = self.node.said("cat /etc/resolv.conf")
        self.assertEqual(self.pod(dns_config=cri.DNSConfig()).run().said("cat /etc/resolv.conf"), inherited)
        free = "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range"
        self.assertEqual(container.said(free).split(), ["0", "0", "2147483647"])
        sysctls = {
            "net.ipv4.ip_unprivileged_port_start": "81",
            "kernel.shm_rmid_forced": "1",
            "fs.mqueue.msg_max": "100",
        }
        linux = pod.config["linux"] | {"sysctls": sysctls}
        tuned = self.pod(linux=linux).run()
        paths = " ".join("/proc/sys/" + name.replace(".", "/") for name in sysctls)
        self.assertEqual(tuned.said(f"cat {paths}").split(), list(sysctls.values()))

    def test_handlers_and_configs_that_are_not_there_are_refused(self):
        pod = self.pod()
        other = pod.config | {"metadata": pod.config["metadata"] | {"attempt": 1}}
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assertRefused(invalid, "RunPodSandbox", config=other, runtime_handler="nonesuch")
        self.assertRefused(invalid, "RunPodSandbox", config={})


class Loss(Case):
    def test_a_pod_whose_shim_dies_is_lost_and_told_so(self):
        pod = self.pod(namespaces={"pid": cri.POD})
        container = pod.run()
        shim = self.node.said(f"cat /proc/1/root/run/rk/sandboxes/{pod.id}/shim.pid")
        is_first = f"grep -qs '^PPid:.*[^0-9]{shim}$' $p/status && grep -qs ^/pause $p/cmdline"
        first = self.node.said(f"for p in /proc/[0-9]*; do {is_first} && echo $p; done; true")
        self.assertTrue(first.startswith("/proc/"), first)
        stream = ask("GetContainerEvents")
        stream.initial_metadata()
        self.node.said(f"kill -9 {shim}")
        status = container.ended()
        self.assertEqual((status.exit_code, status.reason), (255, "Unknown"))
        eventually("a pod that is not ready", lambda: pod.status().state == cri.SANDBOX_NOTREADY)
        eventually("the end of its first process", lambda: self.node.sh(f"test -e {first}")[1] != 0)
        pod.remove()
        seen = []
        for event in stream:
            if event.container_id == pod.id:
                seen.append(event.container_event_type)
            if event.container_event_type == cri.CONTAINER_DELETED_EVENT and event.container_id == pod.id:
                break
        stream.cancel()
        self.assertEqual(seen, [cri.CONTAINER_STOPPED_EVENT, cri.CONTAINER_DELETED_EVENT])


class Namespaces(Case):
    def test_ipc_is_the_pod_s_or_the_node_s(self):
        link = "readlink /proc/self/ns/ipc"
        node, one, other = self.node.said(link), self.pod(), self.pod()
        first, second, stranger = one.run(), one.run(), other.run()
        own = first.said(link)
        self.assertEqual(own, second.said(link))
        self.assertEqual(len({own, node, stranger.said(link)}), 3)
        first.said("echo shared > /dev/shm/word")
        self.assertEqual(second.said("cat /dev/shm/word"), "shared")
        self.assertNotEqual(stranger.sh("cat /dev/shm/word")[1], 0)
        shared = self.pod("shared", {"ipc": cri.NODE})
        self.assertEqual(shared.run().said(link), node)
        self.assertEqual(shared.status().linux.namespaces.options.ipc, cri.NODE)

    def test_the_node_s_network_and_processes_are_seen_when_asked_for(self):
        links = "ls /sys/class/net; readlink /proc/self/ns/net"
        hosted = self.pod("hosted", {"network": cri.NODE, "pid": cri.NODE}, hostname="")
        container = hosted.run()
        self.assertEqual(container.said(links), self.node.said(links))
        self.assertEqual(container.said("cat /proc/1/comm"), self.node.said("cat /proc/1/comm"))
        name = self.node.said("hostname")
        self.assertEqual(container.said("hostname; env | grep ^HOSTNAME=").split(), [name, f"HOSTNAME={name}"])
        self.assertEqual(hosted.status().network.ip, "")
        self.assertNotEqual(self.pod().run().said(links), self.node.said(links))

    def test_processes_are_the_container_s_the_pod_s_or_another_s(self):
        alone = self.pod()
        first, second = alone.run("exec sleep 4321"), alone.run()
        eventually("its program", lambda: "sleep" in first.said("cat /proc/1/comm"))
        self.assertNotIn("4321", second.said("ps"))
        options = {"pid": cri.TARGET, "target_id": first.id}
        target = alone.run(security={"namespace_options": options})
        self.assertIn("4321", target.said("ps"))
        together = self.pod("together", {"pid": cri.POD})
        together.run("exec sleep 4321")
        self.assertIn("4321", together.run().said("ps"))

    def test_who_names_no_namespaces_has_those_of_the_pod(self):
        pod = self.pod("silent", linux={})
        first, second = pod.run("exec sleep 4321", linux={}), pod.run(linux={})
        self.assertIn("4321", second.said("ps"))
        # What is not the first of its processes needs no handler to be ended by a signal.
        first.stop(PATIENCE)
        self.assertEqual(first.status().exit_code, 143)


class Ports(Case):
    SERVE = "mkdir /w; echo served > /w/x; exec httpd -f -p 8080 -h /w"

    def asked(self, client, place):
        """What a client of `place` hears."""
        return client.sh(f"wget -T 5 -qO- http://{place}/x")[0].strip()

    def test_a_port_of_the_node_leads_to_the_pod(self):
        pod = self.pod(port_mappings=[{"protocol": cri.TCP, "container_port": 8080, "host_port": 18180}])
        pod.run(self.SERVE)
        client = self.pod("client").run()
        address = self.node.said("ip -4 -o addr show scope global | grep -o '192.168.77.[0-9]*' | head -n 1")
        for who in (client, self.node):
            eventually("an answer", lambda: self.asked(who, f"{address}:18180") == "served")
        eventually("an answer to the node itself", lambda: self.asked(self.node, "127.0.0.1:18180") == "served")
        pod.remove()
        self.assertNotEqual(self.asked(client, f"{address}:18180"), "served")

    def test_a_pod_has_an_address_that_others_reach(self):
        # A port without one of the node is no more than told.
        server = self.pod("server", port_mappings=[{"protocol": cri.TCP, "container_port": 8080}])
        server.run(self.SERVE)
        client = self.pod("client").run()
        eventually("an answer", lambda: self.asked(client, f"{server.status().network.ip}:8080") == "served")
