"""Runs inside a sandbox as the agent, tries everything it must not do, and what it must.

Standard library only. `python3 probe.py NAME...` runs the named attempts (all without names) and
prints one JSON object: attempt → outcome. An outcome is "ok", the name of an errno, "signal N",
or a value the host compares. Each attempt runs in a child of its own, so that none can spoil the
next.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
X86 = os.uname().machine == "x86_64"
WORKSPACE = Path("/workspace")
TMP = Path("/tmp")
ATTEMPTS = {}

# Numbers on x86_64 and aarch64; None: the architecture has no such call.
CALLS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}
CLONE = 56 if X86 else 220
CLONE3 = 435
PERSONALITY = 135 if X86 else 92
PIDFD_OPEN = 434
OPENAT2 = 437
NAMESPACES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mount": 0x00020000,
    "network": 0x40000000,
    "pid": 0x20000000,
    "user": 0x10000000,
    "uts": 0x04000000,
}


def attempt(function):
    """Registers an attempt under its own name."""
    ATTEMPTS[function.__name__] = function
    return function


def raw(number, *arguments):
    """A system call as it is; raises OSError like any other."""
    ctypes.set_errno(0)
    values = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    outcome = LIBC.syscall(ctypes.c_long(number), *values)
    if outcome < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return outcome


def status(pid="self"):
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def server_pid():
    """The action server: the child of PID 1 that another user than us runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != "1":
            fields = status(entry.name)
            if fields["PPid"] == "1" and int(fields["Uid"].split()[0]) != os.getuid():
                return int(entry.name)
    raise SystemExit("no action server found")


# Row 1: another user than root.


@attempt
def user_is_the_agent():
    return os.getresuid() + os.getresgid()


@attempt
def become_root():
    os.setuid(0)


@attempt
def become_the_root_group():
    os.setgid(0)


@attempt
def drop_supplementary_groups():
    os.setgroups([])


@attempt
def become_oneself():
    os.setresuid(*[os.getuid()] * 3)


# Row 2: no capability.


@attempt
def capability_sets():
    fields = status()
    return {name: fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


@attempt
def make_a_block_device():
    os.mknod(WORKSPACE / "vda", stat.S_IFBLK | 0o600, os.makedev(254, 0))


@attempt
def make_a_pipe():
    os.mkfifo(WORKSPACE / "pipe")


@attempt
def change_root():
    os.chroot("/tmp")


@attempt
def give_a_file_to_root():
    os.chown(own_file("given"), 0, 0)


@attempt
def keep_a_file():
    os.chown(own_file("kept"), os.getuid(), os.getgid())


@attempt
def send_a_raw_packet():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def own_file(name, content=b"x"):
    """A file of the agent's in the workspace."""
    path = WORKSPACE / name
    path.write_bytes(content)
    return path


# Row 3: no new privileges.


@attempt
def no_new_privileges():
    return status()["NoNewPrivs"]


@attempt
def take_privileges_back():
    if LIBC.prctl(38, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@attempt
def set_user_id_files():
    found = subprocess.run(
        ["find", "/", "-xdev", "-perm", "/6000", "-type", "f"], capture_output=True, text=True
    )
    return found.stdout.split()


@attempt
def set_user_id_copy_runs_as_the_agent():
    copy = own_file("id", Path("/usr/bin/id").read_bytes())
    copy.chmod(0o6755)
    return subprocess.run([copy, "-u"], capture_output=True, text=True).stdout.strip()


# Row 4: the root file system cannot be written.


@attempt
def plant_a_program():
    os.close(os.open("/usr/bin/planted", os.O_CREAT | os.O_WRONLY, 0o755))


@attempt
def change_the_server():
    os.close(os.open("/opt/sandbox/start.py", os.O_WRONLY))


@attempt
def remount_the_root():
    raw(CALLS["mount"][0 if X86 else 1], b"none", b"/", b"", 32, 0)


@attempt
def root_mount_flags():
    return next(fields[5] for fields in mounts() if fields[4] == "/").split(",")[0]


@attempt
def write_a_file():
    own_file("plain")


# Row 5: the system call filter.


@attempt
def filter_mode():
    return status()["Seccomp"]


@attempt
def clone_with_a_namespace():
    return {name: outcome(lambda f=flag: clone(f)) for name, flag in NAMESPACES.items()}


def clone(flag):
    """A child in a namespace of its own, which ends at once."""
    if raw(CLONE, flag | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


@attempt
def clone3_is_unknown():
    if raw(CLONE3, bytes(88), 88) == 0:
        os._exit(0)


@attempt
def forbidden_sockets():
    kinds = {
        "packet": (17, socket.SOCK_RAW, 0),
        "alg": (38, socket.SOCK_SEQPACKET, 0),
        "vsock": (40, socket.SOCK_STREAM, 0),
        "netfilter": (16, socket.SOCK_RAW, 12),
        "audit": (16, socket.SOCK_RAW, 9),
        "bluetooth": (31, socket.SOCK_RAW, 1),
        "can": (29, socket.SOCK_RAW, 1),
        "xdp": (44, socket.SOCK_RAW, 0),
    }
    return {name: outcome(lambda k=kind: socket.socket(*k)) for name, kind in kinds.items()}


@attempt
def allowed_sockets():
    kinds = {
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        "inet": (socket.AF_INET, socket.SOCK_STREAM, 0),
        "inet6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
        "route": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
    }
    return {name: outcome(lambda k=kind: socket.socket(*k)) for name, kind in kinds.items()}


@attempt
def turn_off_address_randomisation():
    raw(PERSONALITY, 0x0040000)


@attempt
def ask_for_the_personality():
    raw(PERSONALITY, 0xFFFFFFFF)


@attempt
def open_a_process_descriptor():
    raw(PIDFD_OPEN, os.getpid(), 0)


@attempt
def open_by_openat2():
    raw(OPENAT2, -100, b"/workspace", bytes(24), 24)


@attempt
def make_a_memory_file():
    os.memfd_create("x")


@attempt
def start_a_thread_and_a_process():
    code = "import threading; t=threading.Thread(target=print); t.start(); t.join()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# Row 6: a second wall where the host has one.


@attempt
def apparmor_profile():
    return Path("/proc/self/attr/current").read_text().strip("\0\n")


# Row 7: processes.


@attempt
def fork_bomb():
    children, refused = [], ""
    for _ in range(5000):
        try:
            child = os.fork()
        except OSError as error:
            refused = errno.errorcode[error.errno]
            break
        if child == 0:
            signal.pause()
            os._exit(0)
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"refused": refused, "forks": len(children)}


@attempt
def ten_forks():
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


# Row 8: orphans are reaped.


@attempt
def orphans_leave_no_zombies():
    for _ in range(40):
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.waitpid(middle, 0)
    deadline = time.monotonic() + 5
    while (left := zombies()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"zombies": left, "first": Path("/proc/1/comm").read_text().strip()}


def zombies():
    """How many processes are dead and not waited for."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += status(entry.name)["State"].startswith("Z")
            except OSError:
                continue
    return found


# Row 9: memory.


@attempt
def take_too_much_memory():
    fill_memory(4096)


@attempt
def take_a_little_memory():
    fill_memory(24)


@attempt
def avoid_the_memory_killer():
    Path("/proc/self/oom_score_adj").write_text("-1000")


@attempt
def offer_oneself_to_the_memory_killer():
    Path("/proc/self/oom_score_adj").write_text("1000")


def fill_memory(megabytes):
    """Touches that much memory, page by page."""
    held = []
    for _ in range(megabytes):
        piece = mmap.mmap(-1, 2**20)
        piece.write(b"x" * 2**20)
        held.append(piece)


# Row 10: memory file systems have a size and a number of files, and run nothing.


@attempt
def overfill_tmp():
    return overfill(TMP / "big")


@attempt
def overfill_the_workspace():
    return overfill(WORKSPACE / "big")


@attempt
def overfill_shared_memory():
    return overfill(Path("/dev/shm/big"))


def overfill(path):
    """Writes until no more fits; how much did and why not more."""
    written, why = 0, "never refused"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(4096):
                written += file.write(b"x" * 2**20)
    except OSError as error:
        why = errno.errorcode[error.errno]
    finally:
        path.unlink()
    return {"why": why, "mb": written // 2**20}


@attempt
def too_many_files_in_tmp():
    folder, made, why = TMP / "many", 0, "never refused"
    folder.mkdir()
    try:
        for made in range(100_000):
            (folder / str(made)).touch()
    except OSError as error:
        why = errno.errorcode[error.errno]
    subprocess.run(["rm", "-rf", folder], check=True)
    return {"why": why, "files": made}


@attempt
def write_a_little_to_tmp():
    (TMP / "small").write_bytes(b"x" * 2**20)
    (TMP / "small").unlink()


@attempt
def run_a_program_from_tmp():
    return run_script(TMP)


@attempt
def run_a_program_from_the_workspace():
    return run_script(WORKSPACE)


def run_script(folder):
    """Runs a program out of that folder."""
    script = folder / "program"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    subprocess.run([script], check=True)


# Row 11: processor time.


@attempt
def hog_the_processors():
    before = throttled()
    hogs = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                pass
            os._exit(0)
        hogs.append(child)
    for hog in hogs:
        os.waitpid(hog, 0)
    return {"throttled": throttled() > before}


def throttled():
    """In how many periods the group was held back."""
    for path in ("/sys/fs/cgroup/cpu/cpu.stat", "/sys/fs/cgroup/cpu.stat"):
        if Path(path).exists():
            lines = dict(line.split() for line in Path(path).read_text().splitlines())
            return int(lines["nr_throttled"])
    raise SystemExit("no cpu.stat")


# Row 12: disk rates.


@attempt
def write_eight_megabytes_directly():
    block = mmap.mmap(-1, 2**20)
    block.write(b"x" * 2**20)
    started = time.monotonic()
    descriptor = os.open(WORKSPACE / "direct", os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600)
    for _ in range(8):
        os.write(descriptor, block)
    os.close(descriptor)
    os.unlink(WORKSPACE / "direct")
    return {"seconds": time.monotonic() - started}


# Row 13: no network.


@attempt
def interfaces():
    return [name for _, name in socket.if_nameindex()]


@attempt
def reach_out():
    targets = {
        "metadata": ("169.254.169.254", 80),
        "internet": ("8.8.8.8", 53),
        "bridge": ("172.17.0.1", 80),
        "private": ("10.0.0.1", 80),
    }
    return {
        name: outcome(lambda t=t: socket.create_connection(t, 3)) for name, t in targets.items()
    }


@attempt
def resolve_a_name():
    try:
        socket.getaddrinfo("example.com", 80)
    except socket.gaierror:
        return "no answer"
    return "answer"


@attempt
def resolve_localhost():
    return sorted({row[4][0] for row in socket.getaddrinfo("localhost", 80)})


@attempt
def talk_to_oneself():
    left, right = socket.socketpair()
    left.send(b"x")
    right.recv(1)


@attempt
def talk_over_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 3).close()


# Row 14: nothing of the host is mounted.


def mounts():
    """The rows of our mount table."""
    return [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@attempt
def mount_points():
    return sorted({fields[4] for fields in mounts()})


@attempt
def mounts_that_propagate():
    rows = [(fields[4], " ".join(fields[6 : fields.index("-")])) for fields in mounts()]
    return [point for point, tags in rows if "shared:" in tags]


@attempt
def writable_folders():
    command = ["find", "/", "-xdev", "-type", "d", "-writable", "-not", "-path", "/proc/*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


@attempt
def sockets_in_reach():
    command = ["find", "/", "-type", "s", "-not", "-path", "/proc/*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


@attempt
def enter_the_control_folder():
    os.listdir("/run/sandbox/control")


@attempt
def call_the_action_server():
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("/run/sandbox/control/action.sock")


@attempt
def change_the_user_table():
    os.close(os.open("/etc/passwd", os.O_WRONLY))


@attempt
def read_the_user_table():
    return Path("/etc/passwd").read_text()


@attempt
def device_nodes():
    return sorted(p.name for p in Path("/dev").iterdir() if p.is_block_device())


# Row 15: what the kernel tells and takes.


@attempt
def masked_files():
    names = ("acpi", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list")
    found = {name: read_some(Path("/proc", name)) for name in names}
    found["firmware"] = read_some(Path("/sys/firmware"))
    return found


def read_some(path):
    """How much there is to read at `path`, or why nothing."""
    try:
        if path.is_dir():
            return len(os.listdir(path))
        with path.open("rb") as file:
            return len(file.read(4096))
    except OSError as error:
        return errno.errorcode[error.errno]


@attempt
def kernel_settings():
    targets = {
        "core_pattern": "/proc/sys/kernel/core_pattern",
        "sysrq": "/proc/sysrq-trigger",
        "uevent_helper": "/sys/kernel/uevent_helper",
        "irq": "/proc/irq/default_smp_affinity",
        "vm": "/proc/sys/vm/drop_caches",
    }
    return {name: outcome(lambda p=p: os.open(p, os.O_WRONLY)) for name, p in targets.items()}


@attempt
def raw_devices():
    paths = ("/dev/mem", "/dev/kmsg", "/dev/port", "/dev/loop-control", "/dev/kvm", "/dev/fuse")
    return {path: outcome(lambda p=path: os.open(p, os.O_RDONLY)) for path in paths}


@attempt
def read_ones_own_status():
    return status()["Name"] != ""


@attempt
def read_memory_facts():
    return "MemTotal" in Path("/proc/meminfo").read_text()


# Row 16: control groups.


@attempt
def group_paths():
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return sorted({line.split(":", 2)[2] for line in lines})


@attempt
def rewrite_limits():
    names = ("memory/memory.limit_in_bytes", "memory/release_agent", "memory.max", "pids.max")
    paths = [Path("/sys/fs/cgroup", name) for name in names]
    return {p.name: outcome(lambda p=p: os.open(p, os.O_WRONLY)) for p in paths if p.exists()}


@attempt
def make_a_group():
    root = Path("/sys/fs/cgroup")
    os.mkdir((root / "memory" if (root / "memory").exists() else root) / "mine")


@attempt
def read_ones_own_limit():
    for name in ("memory/memory.limit_in_bytes", "memory.max"):
        path = Path("/sys/fs/cgroup", name)
        if path.exists():
            return int(path.read_text())
    raise SystemExit("no memory limit to read")


# Row 17: interprocess memory.


@attempt
def shared_memory_mb():
    counts = os.statvfs("/dev/shm")
    return counts.f_blocks * counts.f_frsize // 2**20


@attempt
def use_shared_memory():
    Path("/dev/shm/x").write_bytes(b"x")
    Path("/dev/shm/x").unlink()


@attempt
def segments_of_others():
    return Path("/proc/sysvipc/shm").read_text().count("\n") - 1


# Row 18: per-process limits.


@attempt
def process_limits():
    names = ("CORE", "NOFILE", "FSIZE", "MEMLOCK", "MSGQUEUE")
    return {n: resource.getrlimit(getattr(resource, f"RLIMIT_{n}")) for n in names}


@attempt
def raise_a_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))
    except ValueError:  # how Python says EPERM here
        raise OSError(errno.EPERM, "not allowed") from None


@attempt
def lower_a_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


@attempt
def write_a_giant_file():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with (WORKSPACE / "giant").open("wb") as file:
        file.truncate(2**40)


# Row 19: the log.


@attempt
def write_to_the_log():
    os.close(os.open("/proc/1/fd/1", os.O_WRONLY))


@attempt
def write_to_ones_own_output():
    os.close(os.open("/proc/self/fd/1", os.O_WRONLY))


# Row 21: user namespaces.


@attempt
def user_map():
    return Path("/proc/self/uid_map").read_text().split()


# Row 25: the action server.


@attempt
def signal_the_server():
    os.kill(server_pid(), signal.SIGTERM)


@attempt
def signal_the_first_process():
    os.kill(1, signal.SIGTERM)


@attempt
def trace_the_server():
    raw(CALLS["ptrace"][0 if X86 else 1], 16, server_pid(), 0, 0)


@attempt
def read_the_servers_memory():
    os.close(os.open(f"/proc/{server_pid()}/mem", os.O_RDONLY))


@attempt
def read_the_servers_environment():
    return len(Path(f"/proc/{server_pid()}/environ").read_bytes())


@attempt
def read_the_first_process_environment():
    return len(Path("/proc/1/environ").read_bytes())


@attempt
def list_the_servers_files():
    os.listdir(f"/proc/{server_pid()}/fd")


@attempt
def slow_the_server_down():
    os.setpriority(os.PRIO_PROCESS, server_pid(), 19)


@attempt
def limit_the_server():
    resource.prlimit(server_pid(), resource.RLIMIT_NOFILE, (3, 3))


@attempt
def server_rights():
    fields = status(server_pid())
    return {n: fields[n] for n in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs")}


@attempt
def command_one_s_own_child():
    with subprocess.Popen(["sleep", "60"]) as child:
        Path(f"/proc/{child.pid}/environ").read_bytes()
        os.listdir(f"/proc/{child.pid}/fd")
        os.setpriority(os.PRIO_PROCESS, child.pid, 19)
        child.terminate()
        return child.wait()


def forbidden_call(name):
    """Makes the call with arguments that an unfiltered kernel would answer otherwise."""
    number = CALLS[name][0 if X86 else 1]
    if number is None:
        return "no such call here"
    return outcome(lambda: raw(number, 0, 0, 0, 0, 0, 0))


@attempt
def forbidden_calls():
    return {name: forbidden_call(name) for name in CALLS}


def outcome(action):
    """What came of it, in one word or value."""
    try:
        value = action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return "ok" if value is None or isinstance(value, socket.socket) else value


def in_a_child(action):
    """The outcome of `action`, run where it can do no harm to the next one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.write(writer, json.dumps(outcome(action)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    _, code = os.waitpid(child, 0)
    if os.WIFSIGNALED(code):
        return f"signal {os.WTERMSIG(code)}"
    if not answer:
        return f"exit {os.WEXITSTATUS(code)}"
    try:
        return json.loads(answer)
    except ValueError:  # a wall fell so that two processes answered
        return answer.decode()


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(ATTEMPTS)
    print(json.dumps({name: in_a_child(ATTEMPTS[name]) for name in wanted}))
