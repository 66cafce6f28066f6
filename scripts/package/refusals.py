"""Loads a CUDA backend where there may be no driver, and asks it for what it must refuse.

Prints one line a refusal, "interface: MESSAGE" and "device: MESSAGE"; an answer instead of a refusal has no message.
"""

import ctypes
import re
import sys


class Status(ctypes.Structure):
    """lq::Status of native/include/lq/types.h."""

    _fields_ = [("code", ctypes.c_int32), ("index", ctypes.c_int64), ("message", ctypes.c_char * 496)]


library = ctypes.CDLL(sys.argv[1])
library.lq_create_backend.restype = ctypes.c_void_p
library.lq_create_backend.argtypes = [ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(Status)]


def refusal(abi, device):
    status = Status()
    backend = library.lq_create_backend(abi, device, ctypes.byref(status))
    return "" if backend or status.code == 0 else status.message.decode()


interface = refusal(-1, 0)
print(f"interface: {interface}")
spoken = re.search(r"has interface (\d+)", interface)
# No machine has this device; without a driver that is what is said.
print(f"device: {refusal(int(spoken[1]), 1 << 20) if spoken else ''}")
