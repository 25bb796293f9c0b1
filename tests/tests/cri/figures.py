"""Usage and metrics of what runs."""

from peer import LABEL, Case, ask, eventually

# What clients of this version of CRI look for in metrics of a container that works, has limits and has written to its disk.
OF_CONTAINERS = """
blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total
fs_limit_bytes fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total fs_writes_total last_seen
memory_cache memory_failcnt memory_failures_total memory_kernel_usage memory_mapped_file memory_max_usage_bytes
memory_rss memory_swap memory_usage_bytes memory_working_set_bytes oom_events_total pressure_cpu_stalled_seconds_total
pressure_cpu_waiting_seconds_total pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total
pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total processes sockets spec_cpu_period
spec_cpu_quota spec_cpu_shares spec_memory_limit_bytes
spec_memory_reservation_limit_bytes spec_memory_swap_limit_bytes start_time_seconds threads threads_max ulimits_soft
""".split()
OF_PODS = [
    f"network_{way}_{what}_total"
    for way in ("receive", "transmit")
    for what in ("bytes", "errors", "packets", "packets_dropped")
]
WRITES = "dd if=/dev/zero of=/written bs=65536 count=16 conv=fsync 2> /dev/null; exec sleep 3600"
LIMITS = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512, "cpu_period": 100000, "cpu_quota": 50000}


class Figures(Case):
    def busy(self):
        """A pod with a container that has written and read."""
        pod = self.pod()
        container = pod.run(WRITES, labels={LABEL: pod.uid}, resources=LIMITS)
        eventually("its file", lambda: container.sh("[ -s /written ]")[1] == 0)
        return pod, container

    def whole(self, stats, container):
        self.assertEqual((stats.attributes.id, stats.attributes.labels[LABEL]), (container.id, self.label))
        self.assertTrue(stats.cpu.timestamp and stats.memory.timestamp and stats.writable_layer.fs_id.mountpoint)
        self.assertGreater(stats.cpu.usage_core_nano_seconds.value, 0)
        self.assertGreater(stats.memory.working_set_bytes.value, 0)

    def test_usage_of_a_container_is_told(self):
        pod, container = self.busy()
        self.label = pod.uid
        self.whole(ask("ContainerStats", container_id=container.id).stats, container)
        for wanted in ({"id": container.id}, {"pod_sandbox_id": pod.id}, {"label_selector": {LABEL: pod.uid}}):
            [stats] = ask("ListContainerStats", filter=wanted).stats
            self.whole(stats, container)
        streamed = [one for part in ask("StreamContainerStats", filter=wanted) for one in part.container_stats]
        self.assertEqual([one.attributes.id for one in streamed], [container.id])
        self.assertIn(container.id, [one.attributes.id for one in ask("ListContainerStats").stats])
        self.assertEqual(len(ask("ListContainerStats", filter={"label_selector": {LABEL: "another"}}).stats), 0)
        container.stop()
        self.assertEqual(len(ask("ListContainerStats", filter={"id": container.id}).stats), 0)

    def test_usage_of_a_pod_is_told(self):
        pod, container = self.busy()
        self.label = pod.uid
        [listed] = ask("ListPodSandboxStats", filter={"label_selector": {LABEL: pod.uid}}).stats
        for stats in (listed, ask("PodSandboxStats", pod_sandbox_id=pod.id).stats):
            self.assertEqual(stats.attributes.metadata.uid, pod.uid)
            self.assertEqual(stats.linux.network.default_interface.name, "eth0")
            self.assertGreater(stats.linux.process.process_count.value, 0)
            [one] = stats.linux.containers
            self.whole(one, container)

    def test_a_pod_without_containers_is_told_too(self):
        pod = self.pod()
        wanted = {"id": pod.id}
        listed = ask("ListPodSandboxStats", filter=wanted).stats
        streamed = [one for part in ask("StreamPodSandboxStats", filter=wanted) for one in part.pod_sandbox_stats]
        for stats in (listed, streamed):
            self.assertEqual([one.attributes.id for one in stats], [pod.id])
        self.assertIn(pod.id, [one.pod_sandbox_id for one in ask("ListPodSandboxMetrics").pod_metrics])

    def sampled(self, pod, container):
        """Metrics of a pod and of its container, once there are samples of all that is looked for: disks are counted now and then."""
        missing = None

        def look():
            nonlocal missing
            of_pod = {one.pod_sandbox_id: one for one in ask("ListPodSandboxMetrics").pod_metrics}[pod.id]
            [of_container] = of_pod.container_metrics
            self.assertEqual(of_container.container_id, container.id)
            names = {metric.name for metric in (*of_pod.metrics, *of_container.metrics)}
            missing = {f"container_{name}" for name in OF_PODS + OF_CONTAINERS} - names
            return None if missing else (of_pod.metrics, of_container.metrics)

        try:
            return eventually("samples of all metrics", look)
        except AssertionError as error:
            raise AssertionError(f"nothing is told of {missing}") from error

    def test_metrics_have_descriptors_and_samples(self):
        pod, container = self.busy()
        described = {one.name: list(one.label_keys) for one in ask("ListMetricDescriptors").descriptors}
        for metrics in self.sampled(pod, container):
            for metric in metrics:
                labels = dict(zip(described[metric.name], metric.label_values, strict=True))
                self.assertEqual((labels["pod"], labels["namespace"]), ("peer", LABEL))
                self.assertTrue(metric.timestamp)
        streamed = [one.pod_sandbox_id for part in ask("StreamPodSandboxMetrics") for one in part.pod_sandbox_metrics]
        self.assertIn(pod.id, streamed)
