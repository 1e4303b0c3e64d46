"""How fast a service answers: python benchmarks/serve.py BUNDLE [SECONDS]

One text a request, over the loopback, from 1, 8 and 32 clients that each wait for their answer; beside it the same
texts asked of the Bundle directly, and /health/live, which costs HTTP alone. Clients run in this process and the
service in its own, so on two cores they share the machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from luodi.core.bundle import open_bundle

SERVICE = """
import sys
from pathlib import Path
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.serve import serve
serve(Path(sys.argv[1]), ServeSettings(port=0), on_ready=lambda url: print(url, flush=True))
"""


async def client(host: str, port: int, requests: Sequence[bytes], until: float) -> list[float]:
    """Seconds of each answer. A socket and nothing else: a client library would cost more than the service."""
    reader, writer = await asyncio.open_connection(host, port)
    times = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(requests[len(times) % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode())
        times.append(time.perf_counter() - began)
    writer.close()
    return times


async def measure(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> tuple[list[float], float]:
    place = urlsplit(url)
    began = time.perf_counter()
    tasks = [client(str(place.hostname), place.port or 80, requests, began + seconds) for _ in range(clients)]
    times = [t for some in await asyncio.gather(*tasks) for t in some]
    return sorted(times), time.perf_counter() - began


def post(text: str) -> bytes:
    body = json.dumps({"input": text}, ensure_ascii=False).encode()
    return b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def row(name: str, times: Sequence[float], seconds: float) -> None:
    p50, p95 = statistics.median(times) * 1e3, times[int(len(times) * 0.95)] * 1e3
    print(f"{name:22} {p50:8.2f} {p95:8.2f} {len(times) / seconds:10.0f}")


def main(folder: Path, seconds: float) -> None:
    bundle = open_bundle(folder)
    texts = [str(pair.input) for pair in bundle.golden]
    print(f"{'':22} {'p50 ms':>8} {'p95 ms':>8} {'answers/s':>10}")
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        start = time.perf_counter()
        bundle.predict([texts[len(times) % len(texts)]])
        times.append(time.perf_counter() - start)
    row("direct", sorted(times), seconds)
    with subprocess.Popen([sys.executable, "-c", SERVICE, str(folder)], stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            url = service.stdout.readline().strip()
            live = [b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"]
            asyncio.run(measure(url, [post(t) for t in texts], 8, 1.0))  # warm
            row("HTTP alone, 1 client", *asyncio.run(measure(url, live, 1, seconds)))
            for clients in (1, 8, 32):
                row(f"{clients} clients", *asyncio.run(measure(url, [post(t) for t in texts], clients, seconds)))
        finally:
            service.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
