"""A client of CRI over its own project's definitions, and what the cases share: pods, containers, commands, a look at the node."""

import itertools
import json
import os
import socket
import time
import unittest

import api_pb2 as cri
import api_pb2_grpc
import grpc
from google.protobuf.message_factory import GetMessageClass

# Seconds that anything may take.
PATIENCE = int(os.environ["PATIENCE"])
LOOPBACK = "127.0.0.1"
BUSYBOX = "rk.local/busybox:demo"
# An image with a program that runs until it is killed, and with the user `peer`, who is of the group `peers`.
RELAY = "rk.local/relay:test"
# The folder on the node that the cases share with it.
HOME = "/var/lib/cri-peer"
LABEL = "cri-peer"
NUMBERS = itertools.count(int(time.time()))


def _methods():
    options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(f"{LOOPBACK}:{os.environ['CRI_PORT']}", options=options)
    stubs = {
        "RuntimeService": api_pb2_grpc.RuntimeServiceStub(channel),
        "ImageService": api_pb2_grpc.ImageServiceStub(channel),
    }
    for service, stub in stubs.items():
        for name, method in cri.DESCRIPTOR.services_by_name[service].methods_by_name.items():
            yield name, (getattr(stub, name), GetMessageClass(method.input_type))


METHODS = dict(_methods())


def ask(method, **fields):
    """Calls a method of either service; the fields are those of its request."""
    call, request = METHODS[method]
    return call(request(**fields), timeout=2 * PATIENCE)


def eventually(what, look):
    """The first answer of `look` that is not false."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.1)
    return seen


def tunnel(place):
    """A connection from the node to `place`, which is an address with a port."""
    stream = socket.create_connection((LOOPBACK, int(os.environ["NODE_PORT"])), timeout=PATIENCE)
    stream.sendall(f"{place}\n".encode())
    return stream


class Pod:
    """A sandbox, with the config that it was made from."""

    def __init__(self, name, namespaces=None, security=None, **fields):
        uid = f"{name}-{next(NUMBERS)}"
        self.options = {"pid": cri.CONTAINER} | (namespaces or {})
        security = {"namespace_options": self.options} | (security or {})
        self.config = {
            "metadata": {"name": name, "uid": uid, "namespace": LABEL, "attempt": 0},
            "hostname": name,
            "log_directory": f"{HOME}/logs/{uid}",
            "labels": {LABEL: uid},
            "linux": {"security_context": security},
        } | fields
        self.uid = uid
        self.id = ask("RunPodSandbox", config=self.config).pod_sandbox_id

    def status(self, **fields):
        return ask("PodSandboxStatus", pod_sandbox_id=self.id, **fields).status

    def remove(self):
        ask("StopPodSandbox", pod_sandbox_id=self.id)
        ask("RemovePodSandbox", pod_sandbox_id=self.id)

    def create(self, script="sleep 3600", security=None, resources=None, image=BUSYBOX, **fields):
        """A container that runs a line of shell; without one, what its image says."""
        name = f"c{next(NUMBERS)}"
        linux = {"security_context": {"namespace_options": self.options} | (security or {})}
        config = {
            "metadata": {"name": name, "attempt": 0},
            "image": {"image": image},
            "command": ["/bin/sh", "-c", script] if script else [],
            "log_path": f"{name}.log",
            "linux": linux | ({"resources": resources} if resources else {}),
        } | fields
        made = ask("CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return Container(made.container_id)

    def run(self, *args, **fields):
        container = self.create(*args, **fields)
        container.start()
        return container


class Container:
    """A container by its id."""

    def __init__(self, id):
        self.id = id

    def start(self):
        ask("StartContainer", container_id=self.id)

    def stop(self, timeout=0):
        ask("StopContainer", container_id=self.id, timeout=timeout)

    def remove(self):
        ask("RemoveContainer", container_id=self.id)

    def status(self):
        return ask("ContainerStatus", container_id=self.id).status

    def pid(self):
        """The first process, as the node counts it."""
        info = ask("ContainerStatus", container_id=self.id, verbose=True).info
        return json.loads(info["info"])["pid"]

    def ended(self):
        """The status once it ended."""

        def look():
            status = self.status()
            return status if status.state == cri.CONTAINER_EXITED else None

        return eventually(f"the end of container {self.id}", look)

    def exec(self, *cmd, timeout=PATIENCE):
        return ask("ExecSync", container_id=self.id, cmd=cmd, timeout=timeout)

    def sh(self, line):
        """All that a line of shell says, and its code."""
        done = self.exec("/bin/sh", "-c", line)
        return (done.stdout + done.stderr).decode(), done.exit_code

    def said(self, line):
        """What a line of shell says that succeeds."""
        text, code = self.sh(line)
        if code != 0:
            raise AssertionError(f"{line!r} ended with {code}: {text}")
        return text.strip()


def sweep():
    """Removes what earlier cases left."""
    for pod in ask("ListPodSandbox").items:
        if LABEL in pod.labels:
            ask("StopPodSandbox", pod_sandbox_id=pod.id)
            ask("RemovePodSandbox", pod_sandbox_id=pod.id)


class Case(unittest.TestCase):
    """Cases of a section. `node` is a privileged container with the node's namespaces, and its folder of HOME at `/peer`."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        sweep()
        cls.addClassCleanup(sweep)
        for image in (BUSYBOX, RELAY):
            ask("PullImage", image={"image": image})
        every = {"network": cri.NODE, "pid": cri.NODE, "ipc": cri.NODE}
        pod = Pod("node", every, {"privileged": True}, hostname="")
        home = {"container_path": "/peer", "host_path": HOME, "propagation": cri.PROPAGATION_BIDIRECTIONAL}
        cls.node = pod.run(security={"privileged": True}, mounts=[home])

    def pod(self, name="peer", *args, **fields):
        pod = Pod(name, *args, **fields)
        self.addCleanup(pod.remove)
        return pod

    def assertRefused(self, code, method, *args, **fields):
        """Calls `method`, or asks for it by its name, expects an error, and answers its words."""
        with self.assertRaises(grpc.RpcError) as refused:
            if callable(method):
                method(*args, **fields)
            else:
                ask(method, **fields)
        self.assertEqual(refused.exception.code(), code, refused.exception.details())
        return refused.exception.details()
