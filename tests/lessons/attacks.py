"""Attacks on the sandbox: what a hostile file would try, one body of a function each.

A body returns something true when the attack has reached what it should not, and raises otherwise.
`OUT` is a folder of somebody else with secret.txt and victim.txt, `LESSON` a file with a solution,
`PORT`, `UNIX` and `ABSTRACT` are where servers listen, `BOSS` is the parent process.
"""

from __future__ import annotations

BEFORE = '''
import ctypes, gc, io, mmap, os, resource, shutil, signal, socket, sqlite3
import subprocess, sys, threading
import numpy, torch
BOSS = os.getppid()
SECRET, VICTIM = OUT + "/secret.txt", OUT + "/victim.txt"

class Machine:
    """The C library, which is opened by the attack that asks for it."""
    def __getattr__(self, name):
        self.__dict__["held"] = ctypes.CDLL(None, use_errno=True)
        return self.__dict__.setdefault(name, getattr(self.held, name))

libc = Machine()

def sure(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True

def there(name):
    return os.path.lexists(OUT + "/" + name)
'''

# What the audit hook stops as well, where the system has no sandbox.
READS = {
    "open": "return open(SECRET).read()",
    "dir_fd": "d = os.open(OUT, os.O_RDONLY | os.O_DIRECTORY)\n"
    "return os.read(os.open('secret.txt', os.O_RDONLY, dir_fd=d), 9)",
    "another path each time": "class Path:\n    said = [SECRET, 'mine', 'mine', 'mine']\n"
    "    def __fspath__(self): return self.said.pop()\n"
    "open('mine', 'w').close()\npath = Path()\n"
    "return any(io.FileIO(path).read() for path.said in [[SECRET] + ['mine'] * n\n"
    "    for n in (0, 1, 2, 3)] for path.said in [path.said])",
    "own symlink": "os.symlink(SECRET, 'link')\nreturn open('link').read()",
    "from_file": "return torch.from_file(SECRET, size=6, dtype=torch.uint8).tolist()",
    "torch.load": "return torch.load(OUT + '/secret.pt')",
    "memory of the parent": "return open(f'/proc/{BOSS}/mem', 'rb').fileno()",
    "own environment": "return open('/proc/self/environ', 'rb').read()",
}
WRITES = {
    "open": "return open(OUT + '/new', 'w').write('x')",
    "into /tmp": "open('/tmp/' + NAME, 'w').close()\nos.remove('/tmp/' + NAME)\nreturn True",
    "rename by dir_fd": "d = os.open(OUT, os.O_RDONLY | os.O_DIRECTORY)\n"
    "os.rename('victim.txt', 'gone', src_dir_fd=d, dst_dir_fd=d)\nreturn there('gone')",
    "remove": "os.remove(VICTIM)\nreturn not there('victim.txt')",
    "replace": "open('mine', 'w').close()\nos.replace('mine', VICTIM)\nreturn True",
    "symlink": "os.symlink('/etc', OUT + '/new')\nreturn there('new')",
    "hard link": "os.link(VICTIM, 'mine')\nreturn os.path.exists('mine')",
    "truncate": "os.truncate(VICTIM, 0)\nreturn True",
    "O_TMPFILE": "return os.open(OUT, os.O_RDWR | os.O_TMPFILE)",
    "chmod": "os.chmod(VICTIM, 0o600)\nreturn True",
    "from_file": "torch.from_file(VICTIM, shared=True, size=6, dtype=torch.uint8).fill_(65)\n"
    "return True",
    # room on the disk that no name in the own folder counts
    "own removed while mapped": "open('mine', 'wb').write(bytes(16))\n"
    "held = torch.from_file('mine', shared=True, size=16, dtype=torch.uint8)\n"
    "os.remove('mine')\nreturn held.numel()",
    "own room": "d = os.open('mine', os.O_RDWR | os.O_CREAT)\n"
    "os.posix_fallocate(d, 0, 1 << 16)\nreturn True",
}
REACHES = {
    "fork": "pid = os.fork()\nif not pid:\n    os._exit(0)\nreturn pid",
    "execv": "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "subprocess": "return subprocess.run(['/bin/sh', '-c', 'echo x'], capture_output=True).stdout",
    "kill": "os.kill(BOSS, 0)\nreturn True",
    "pidfd": "signal.pidfd_send_signal(os.pidfd_open(BOSS), 0)\nreturn True",
    "new limits": "now = resource.getrlimit(resource.RLIMIT_CPU)\n"
    "resource.setrlimit(resource.RLIMIT_CPU, now)\nreturn True",
    "TCP": "return socket.create_connection(('127.0.0.1', PORT)).fileno()",
    "abstract": "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + ABSTRACT)\nreturn True",
}
TRICKS = {  # against the hook itself, and then a file is written
    "its module": "for module in ('__main__', 'audit_hook'):\n"
    "    for name in ('REFUSED', 'CHANGES', 'SILENT', 'OPENING'):\n"
    "        found = getattr(sys.modules[module], name, ())\n"
    "        found.clear() if hasattr(found, 'clear') else None\n"
    "        setattr(sys.modules[module], name, ())\n"
    "return open(OUT + '/new', 'w').write('x')",
    "gc": "for found in gc.get_objects():\n"
    "    if type(found) is type(sure) and found.__name__ == 'refuse':\n"
    "        found.__code__ = (lambda event, args: None).__code__\n"
    "return open(OUT + '/new', 'w').write('x')",
    "frames": "frame = sys._getframe()\nwhile frame:\n    for value in frame.f_locals.values():\n"
    "        if isinstance(value, dict) and 'hidden' in value:\n"
    "            value['hidden'] = value['layers'] = []\n            value['folder'] = '/'\n"
    "    frame = frame.f_back\nreturn open(OUT + '/new', 'w').write('x')",
}
# What Python announces to no hook: the system alone stops these.
DEEPER = {
    "listing": "return os.listdir(OUT)",
    "other users": "return open('/etc/passwd').read()",
    "a classmate's file": "return open(VICTIM).read()",
    "open by ctypes": "return sure(libc.open(VICTIM.encode(), os.O_RDWR))",
    "fork by ctypes": "pid = libc.fork()\nif not pid:\n    os._exit(0)\nreturn sure(pid)",
    "kill by ctypes": "return sure(libc.kill(BOSS, 0))",
    "socket by ctypes": "return sure(libc.socket(2, 1, 0))",
    "memory by ctypes": "class Vector(ctypes.Structure):\n"
    "    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
    "held = ctypes.create_string_buffer(8)\n"
    "mine, other = Vector(ctypes.addressof(held), 8), Vector(id(None), 8)\n"
    "return sure(libc.process_vm_readv(BOSS, ctypes.byref(mine), 1, ctypes.byref(other), 1, 0))",
    "from_file of the dispatcher": "return torch.ops.aten.from_file(VICTIM, True, 6,"
    " dtype=torch.uint8).fill_(65).tolist()",
    "own room by ctypes": "d = os.open('mine', os.O_RDWR | os.O_CREAT)\n"
    "libc.fallocate.argtypes = [ctypes.c_int] * 2 + [ctypes.c_long] * 2\n"
    "return sure(libc.fallocate(d, 1, 0, 1 << 26))",  # 1: past the size, which no limit counts
}
CODES = {
    f"{kind}: {name}": body
    for kind, table in {
        "read": READS,
        "write": WRITES,
        "reach": REACHES,
        "trick": TRICKS,
        "deeper": DEEPER,
    }.items()
    for name, body in table.items()
}
# Calls that are not in reach at all, whoever asks: (name, number on x86_64, number on aarch64).
CALLS = """
mount 165 40, umount2 166 39, unshare 272 97, setns 308 268, keyctl 250 219, add_key 248 217, bpf
321 280, perf_event_open 298 241, io_uring_setup 425 425, userfaultfd 323 282, pidfd_open 434 434,
pidfd_getfd 438 438, pidfd_send_signal 424 424, clone3 435 435, execveat 322 281, ptrace 101 117,
process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, init_module 175 105, reboot 169
142, chroot 161 51, pivot_root 155 41, swapon 167 224, settimeofday 164 170, sethostname 170 161,
open_by_handle_at 304 265, name_to_handle_at 303 264, setuid 105 146, setgid 106 144, setgroups
116 159, capset 126 91, personality 135 92, seccomp 317 277, landlock_create_ruleset 444 444,
socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, sendmsg 46 211, recvmsg 47 212,
symlinkat 266 36, linkat 265 37, mknodat 259 33, fchmodat 268 53, fchownat 260 54, utimensat 280
88, setxattr 188 5, truncate 76 45, memfd_create 319 279, shmget 29 194, msgget 68 186, semget 64
190, mq_open 240 180, tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240,
setpriority 141 140, sched_setaffinity 203 122, ioprio_set 251 30, migrate_pages 256 238,
move_pages 279 239, inotify_add_watch 254 27, fanotify_init 300 262, quotactl 179 60, acct 163 89,
syslog 103 116, kexec_load 246 104, lookup_dcookie 212 18, mlockall 151 230, setrlimit 160 164,
setsid 112 157, timer_create 222 107, vmsplice 278 75, openat2 437 437, faccessat2 439 439,
quotactl_fd 443 443, unlinkat 263 35, renameat2 316 276, fallocate 285 47
"""
