"""Run a command where proxy.twilio.com is this machine and port 443 is free. Not a test: test_unchanged.py starts it.

    unshare --mount --net python apart.py HOSTS COMMAND...

It must be in mount and network namespaces of its own: there it covers the hosts file and brings the loopback up.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


hosts, *command = sys.argv[1:]
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
bring_loopback_up()
os.execvp(command[0], command)  # noqa: S606 - the command is to keep this process's id
