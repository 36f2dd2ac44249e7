"""A real server of the OpenAI protocol, for tests: xllamacpp's, in a process of its own.

    python -m tests.ipc.openai_server MODEL.gguf [--embedding]

Prints its address when it listens; ends with its stdin.
"""

from __future__ import annotations

import sys


def main() -> None:
    import xllamacpp  # the one place where it is imported: modkit itself opens its library only

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 2048
    params.n_parallel = 4
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.warmup = False
    if "--embedding" in sys.argv:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
