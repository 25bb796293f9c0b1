"""Commands, sessions over WebSockets, and logs."""

import json
from urllib.parse import urlsplit

import api_pb2 as cri
import grpc
import websocket
from peer import HOME, PATIENCE, Case, ask, eventually, tunnel

# Channels of the protocol v5: the last says which of the others has ended.
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class Session:
    """A session behind a URL of the streaming server, which listens on the node alone."""

    def __init__(self, url, protocol="v5.channel.k8s.io"):
        parts = urlsplit(url)
        stream = tunnel(parts.netloc)
        address = f"ws://{parts.netloc}{parts.path}"
        options = {"socket": stream, "subprotocols": [protocol], "timeout": PATIENCE}
        self.web = websocket.create_connection(address, **options)
        self.got = {}

    def send(self, channel, data):
        self.web.send_binary(bytes([channel]) + data)

    def until(self, done):
        """Reads until `done` says so, or the server closes."""
        while not done(self):
            try:
                data = self.web.recv()
            except websocket.WebSocketConnectionClosedException:
                break
            if not data:
                break
            data = data if isinstance(data, bytes) else data.encode()
            self.got[data[0]] = self.got.get(data[0], b"") + data[1:]
        return self

    def text(self, channel):
        return self.got.get(channel, b"").decode(errors="replace")

    def outcome(self):
        """How it ended."""
        self.until(lambda session: session.text(ERROR))
        return json.loads(self.text(ERROR))

    def close(self):
        self.web.close()


class Commands(Case):
    def test_output_and_codes_are_answered(self):
        container = self.pod().run()
        done = container.exec("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual((done.stdout, done.stderr, done.exit_code), (b"out\n", b"err\n", 3))
        done = container.exec("head", "-c", "3000000", "/dev/zero")
        self.assertEqual((len(done.stdout), done.exit_code), (3000000, 0))

    def test_a_command_that_takes_too_long_is_ended(self):
        container = self.pod().run()
        self.assertRefused(grpc.StatusCode.DEADLINE_EXCEEDED, container.exec, "sleep", "4321", timeout=1)
        self.assertNotIn("4321", container.said("ps"))

    def test_what_cannot_run_is_told(self):
        container = self.pod().run()
        with self.assertRaises(grpc.RpcError) as refused:
            container.exec("nonesuch")
        self.assertIn("nonesuch", refused.exception.details())
        container.stop()
        self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, container.exec, "true")


class Sessions(Case):
    def exec(self, container, line, **fields):
        cmd = ["/bin/sh", "-c", line]
        streams = {"stdin": True, "stdout": True, "stderr": not fields.get("tty")} | fields
        session = Session(ask("Exec", container_id=container.id, cmd=cmd, **streams).url)
        self.addCleanup(session.close)
        return session

    def attach(self, container, **fields):
        streams = {"stdin": True, "stdout": True, "stderr": True} | fields
        session = Session(ask("Attach", container_id=container.id, **streams).url)
        self.addCleanup(session.close)
        return session

    def test_a_command_has_input_output_and_a_code(self):
        session = self.exec(self.pod().run(), "cat; echo done >&2; exit 6")
        session.send(STDIN, b"hello")
        session.send(CLOSE, bytes([STDIN]))
        outcome = session.outcome()
        self.assertEqual((session.text(STDOUT), session.text(STDERR)), ("hello", "done\n"))
        self.assertEqual((outcome["status"], outcome["reason"]), ("Failure", "NonZeroExitCode"))
        self.assertIn("6", [cause["message"] for cause in outcome["details"]["causes"]])

    def test_a_command_on_a_terminal_knows_its_size(self):
        sized = 'until [ "$(stty size)" = "30 100" ]; do sleep 0.1; done'
        session = self.exec(self.pod().run(), f"{sized}; read line; echo got $line", tty=True)
        session.send(RESIZE, b'{"Width":100,"Height":30}')
        session.send(STDIN, b"typed\n")
        self.assertEqual(session.outcome()["status"], "Success")
        self.assertIn("got typed", session.text(STDOUT))

    def test_a_url_works_once(self):
        container = self.pod().run()
        url = ask("Exec", container_id=container.id, cmd=["true"], stdout=True).url
        session = Session(url)
        self.assertEqual(session.outcome()["status"], "Success")
        session.close()
        with self.assertRaises(websocket.WebSocketException):
            Session(url)

    def test_who_attaches_sees_output_and_gives_input(self):
        container = self.pod().run("while read line; do echo said $line; done", stdin=True)
        session = self.attach(container)
        session.send(STDIN, b"word\n")
        session.until(lambda session: "said word" in session.text(STDOUT))
        self.assertIn("said word", session.text(STDOUT))
        session.close()
        self.assertEqual(container.status().state, cri.CONTAINER_RUNNING)

    def test_input_that_is_for_one_ends_with_the_first_who_attached(self):
        container = self.pod().run("cat; echo over", stdin=True, stdin_once=True)
        session = self.attach(container)
        session.send(STDIN, b"once\n")
        session.send(CLOSE, bytes([STDIN]))
        session.until(lambda session: "over" in session.text(STDOUT))
        self.assertEqual(session.text(STDOUT), "once\nover\n")
        self.assertEqual(container.ended().exit_code, 0)

    def test_input_that_is_not_for_one_goes_on(self):
        container = self.pod().run("cat; echo over", stdin=True)
        for word in (b"first\n", b"second\n"):
            session = self.attach(container)
            session.send(STDIN, word)
            session.until(lambda session: word.decode() in session.text(STDOUT))
            self.assertEqual(session.text(STDOUT), word.decode())
            session.send(CLOSE, bytes([STDIN]))
            self.assertEqual(session.outcome()["status"], "Success")
            session.close()
        self.assertEqual(container.status().state, cri.CONTAINER_RUNNING)

    def serves(self, port, *pod):
        """Waits for what a port of such a pod serves."""
        pod = self.pod(*pod)
        pod.run(f"while :; do nc -l -p {port} -e echo served; done")

        def served():
            url = ask("PortForward", pod_sandbox_id=pod.id, port=[port]).url
            session = Session(url, "v4.channel.k8s.io")
            session.until(lambda session: "served" in session.text(0) or len(session.got.get(1, b"")) > 2)
            session.close()
            return "served" in session.text(0)

        eventually("what the port serves", served)

    def test_ports_of_a_pod_are_reached(self):
        self.serves(8080)
        # Clients that name ports stream by stream name none here.
        self.assertTrue(ask("PortForward", pod_sandbox_id=self.pod().id).url)

    def test_ports_of_a_pod_in_the_node_s_network_are_reached(self):
        self.serves(18181, "hosted", {"network": cri.NODE})

    def test_sessions_of_what_does_not_run_are_refused(self):
        pod = self.pod()
        container = pod.create()
        state = grpc.StatusCode.FAILED_PRECONDITION
        self.assertRefused(state, "Exec", container_id=container.id, cmd=["true"], stdout=True)
        self.assertRefused(state, "Attach", container_id=container.id, stdout=True)
        ask("StopPodSandbox", pod_sandbox_id=pod.id)
        self.assertRefused(state, "PortForward", pod_sandbox_id=pod.id, port=[80])


class Logs(Case):
    def lines(self, container):
        """Stream, tag and text of each line of its log, as the node has it."""
        path = container.status().log_path
        self.assertTrue(path.startswith(f"{HOME}/logs/"), path)
        text, _ = self.node.sh(f"cat {path.replace(HOME, '/peer', 1)}")
        return [tuple(line.split(" ", 3)[1:]) for line in text.splitlines()]

    def test_a_log_has_times_streams_and_tags(self):
        container = self.pod().run("echo out; echo err >&2; printf part; sleep 3600")
        eventually("two lines", lambda: len(self.lines(container)) >= 2)
        lines = self.lines(container)
        self.assertIn(("stdout", "F", "out"), lines)
        self.assertIn(("stderr", "F", "err"), lines)

    def test_a_terminal_is_one_stream(self):
        container = self.pod().run("echo out; echo err >&2; sleep 3600", tty=True)
        eventually("two lines", lambda: len(self.lines(container)) >= 2)
        self.assertEqual({stream for stream, *_ in self.lines(container)}, {"stdout"})

    def test_a_log_that_was_moved_away_is_opened_again(self):
        container = self.pod().run("echo one; until [ -e /go ]; do sleep 0.1; done; echo two; sleep 3600")
        eventually("the first line", lambda: self.lines(container) == [("stdout", "F", "one")])
        path = container.status().log_path.replace(HOME, "/peer", 1)
        self.node.said(f"mv {path} {path}.1")
        ask("ReopenContainerLog", container_id=container.id)
        container.said("touch /go")
        eventually("the second line", lambda: self.lines(container) == [("stdout", "F", "two")])
        self.assertIn("stdout F one", self.node.said(f"cat {path}.1"))

    def test_output_for_which_no_log_was_asked_goes_nowhere(self):
        container = self.pod().run("echo out; echo err >&2", log_path="")
        status = container.ended()
        self.assertEqual((status.exit_code, status.log_path), (0, ""))

    def test_the_log_of_what_does_not_run_is_not_opened(self):
        container = self.pod().create()
        state = grpc.StatusCode.FAILED_PRECONDITION
        self.assertRefused(state, "ReopenContainerLog", container_id=container.id)
