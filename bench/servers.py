# SPDX-License-Identifier: Apache-2.0
"""Starting and ending what is measured, under one name for the other programs of bench/.

    with servers.backend_address(None, folder) as backend:
        with make(folder / "weir", wrap=("valgrind",)) as server:
            server.start(backend)

The work is in weirbench/process.py (any program) and weirbench/proxies.py (each proxy).
"""
from weirbench.process import (BUILD, DIE_WITH_US, HERE, BenchError, Cpu, Port, Server,
                               exit_on_signals, process_cpu, process_memory, raise_file_limit,
                               session_pids)
from weirbench.proxies import (PROXIES, WORKERS, Floor, FloorUring, Haproxy, Hello, Nginx, Rival,
                               Weir, backend_address, choose_proxies)
from weirbench.runner import make_certificate
from weirbench.setup import Setup

__all__ = ["BUILD", "DIE_WITH_US", "HERE", "PROXIES", "WORKERS", "BenchError", "Cpu", "Floor",
           "FloorUring", "Haproxy", "Hello", "Nginx", "Port", "Rival", "Server", "Setup", "Weir",
           "backend_address", "choose_proxies", "exit_on_signals",
           "make_certificate", "process_cpu", "process_memory", "raise_file_limit", "session_pids"]
