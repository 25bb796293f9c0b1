"""Our definitions beside those of CRI's own project: a message of one is the same message of the other."""

import os
import tempfile
import unittest
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc


def load(folder, *files):
    """Messages, enumerations and services by their names; each is what its members mean by number or name."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "set")
        # The first argument stands for the program's name.
        code = protoc.main(["protoc", "-I", folder, "--include_imports", f"--descriptor_set_out={out}", *files])
        assert code == 0, f"{files} of {folder} are not understood"
        read = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    found = {}

    def enumeration(prefix, enum):
        found[prefix + enum.name] = {value.number: value.name for value in enum.value}

    def message(prefix, one):
        found[prefix + one.name] = {field.number: meaning(field) for field in one.field}
        for nested in one.nested_type:
            message(f"{prefix}{one.name}.", nested)
        for enum in one.enum_type:
            enumeration(f"{prefix}{one.name}.", enum)

    for file in read.file:
        for one in file.message_type:
            message("", one)
        for enum in file.enum_type:
            enumeration("", enum)
        for service in file.service:
            found[service.name] = {
                method.name: (method.input_type, method.output_type, method.client_streaming, method.server_streaming)
                for method in service.method
            }
    return found


def meaning(field):
    return field.name, field.type, field.label, field.type_name


def of_windows(name, member):
    """What is for nodes that run Windows."""
    return name.startswith("Windows") or (isinstance(member, tuple) and "Windows" in str(member[-1]))


class Wire(unittest.TestCase):
    maxDiff = None

    def test_all_that_others_define_means_the_same_here(self):
        ours = load(os.environ["OUR_PROTO"], "runtime.proto", "image.proto")
        theirs = load(os.environ["THEIR_PROTO"], "api.proto")
        wanted = {
            (name, key): member
            for name, members in theirs.items()
            for key, member in members.items()
            if not of_windows(name, member)
        }
        self.assertGreater(len(wanted), 400)
        found = {(name, key): ours.get(name, {}).get(key) for name, key in wanted}
        self.assertEqual(found, wanted)
