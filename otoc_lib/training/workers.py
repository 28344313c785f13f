"""What a worker process of a training does at SIGTERM."""

import os
import signal
import threading


def outlive_signals(number: int) -> None:
    """Let a worker take SIGTERM from the process that it works for alone; for ``worker_init_fn`` of a DataLoader.

    A cluster sends it to every process of a job. The one that trains finishes its step and saves, and would be stopped
    in the middle of it by PyTorch's error that a worker was killed.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS, which no cluster of these runs
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as PyTorch's own handler does
