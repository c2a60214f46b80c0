"""`vega.js`: the drawing library and the page's compiled charts in one module, made once by a process of its own.

vl-convert brings the library along and holds Python's lock for seconds while it bundles it, so this happens in another process, in which
also its memory ends. Started as a script this file is that process: it reads what to make from its standard input.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

COMPILED_WITHIN_S = 120.0
RETRY_AFTER_S = 10.0
VEGA = "6.2.0"
INTERPRETER = "2.0.0"
_CDN = "https://cdn.jsdelivr.net/npm"
# Nothing is fetched: the addresses are the names under which vl-convert carries these two versions. The interpreter is what lets
# charts compute without `eval`, which the page's security policy forbids.
SNIPPET = f"""
import * as library from "{_CDN}/vega@{VEGA}/+esm";
import {{ expressionInterpreter }} from "{_CDN}/vega-interpreter@{INTERPRETER}/+esm";
export {{ library as vega, expressionInterpreter }};
"""


class NotMade(Exception):
    """The module could not be made; the message says why."""


class VegaModule:
    """Makes the module at the first request for it, and once for all who ask meanwhile."""

    def __init__(self, charts: dict[str, Any]) -> None:
        self._order = json.dumps({"snippet": SNIPPET, "charts": charts}).encode()
        self._task: asyncio.Task[bytes] | None = None
        self._failed_at = float("-inf")

    @property
    def ingredients(self) -> bytes:
        """All that the module depends on: the same ingredients give the same module."""
        return self._order + version("vl-convert-python").encode()

    async def gzipped(self) -> bytes:
        """The module, gzipped. Raises NotMade, and after a failure at once for ten seconds."""
        loop = asyncio.get_running_loop()
        if self._task is None or (self._task.done() and (self._task.cancelled() or self._task.exception())):
            if loop.time() - self._failed_at < RETRY_AFTER_S:
                raise NotMade("it failed a moment ago")
            self._task = loop.create_task(self._make(), name="vega-module")
        # A reader that leaves must not take the work away from the others.
        return await asyncio.shield(self._task)

    async def _make(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(Path(__file__)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            made, complaint = await asyncio.wait_for(process.communicate(self._order), COMPILED_WITHIN_S)
        except TimeoutError:
            self._failed_at = asyncio.get_running_loop().time()
            raise NotMade(f"it took longer than {COMPILED_WITHIN_S:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0 or not made:
            self._failed_at = asyncio.get_running_loop().time()
            raise NotMade(complaint.decode(errors="replace").strip()[-500:] or f"exit code {process.returncode}")
        return made


def _main() -> None:
    import vl_convert

    order = json.load(sys.stdin)
    compiled = {name: vl_convert.vegalite_to_vega(spec) for name, spec in order["charts"].items()}
    module = vl_convert.javascript_bundle(order["snippet"]) + f"\nexport const charts = {json.dumps(compiled)};\n"
    sys.stdout.buffer.write(gzip.compress(module.encode(), 9, mtime=0))


if __name__ == "__main__":
    _main()
