"""Reports in a bucket: over HTTP, with signatures that the receiver computes for itself (AWS Signature Version 4)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from api.serve import serving
from jobs.delivery.bucket import BucketPlace, ReportBucket
from tests.integration.api_service import free_port, running
from tests.integration.delivery_service import FILE, delivered_by, finished, later
from tests.integration.test_deliveries import STORE, rows, settled
from tests.integration.test_delivery_failures import tried
from tests.service_process import ROOT

SECRET_KEY = "a/secret+key"


@dataclass
class BucketServer:
    """A bucket `reports`: what is stored in it, and what it answers before it stores anything."""

    endpoint: str = ""
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    puts: int = 0
    answers: list[int] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stores what is signed right."""
        body = await request.read()
        self.puts += 1
        if self.answers:
            return web.Response(status=self.answers.pop(0), text="<Error><Code>SlowDown</Code></Error>")
        if request.method != "PUT" or not signed(request, body):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        self.objects[request.path] = (request.headers["Content-Type"], body)
        return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})


def signed(request: web.Request, body: bytes) -> bool:
    """Whether the request has the signature of the secret key, over its body too."""
    scheme, _, rest = request.headers["Authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    key, day, region, service, end = parts["Credential"].split("/")
    digest = hashlib.sha256(body).hexdigest()
    names = parts["SignedHeaders"]
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names.split(";"))
    canonical = f"PUT\n{request.raw_path}\n\n{headers}\n{names}\n{digest}"
    scope = f"{day}/{region}/{service}/{end}"
    text = f"{scheme}\n{request.headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, service, end):
        signing = hmac.digest(signing, part.encode(), "sha256")
    right = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return (key, region, request.headers["x-amz-content-sha256"], parts["Signature"]) == (
        "key",
        "eu-central-1",
        digest,
        right,
    )


@asynccontextmanager
async def bucket_server() -> AsyncIterator[BucketServer]:
    server = BucketServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with serving(app, "127.0.0.1", free_port()) as port:
        server.endpoint = f"http://127.0.0.1:{port}"
        yield server


def bucket(server: BucketServer, secret: str = SECRET_KEY) -> ReportBucket:
    return ReportBucket(BucketPlace("reports", "acme", server.endpoint, "eu-central-1", "key", secret))


async def test_the_same_run_is_one_object_and_what_is_refused_is_tried_again(database_url: str) -> None:
    async with running(database_url) as api, bucket_server() as server:
        server.answers = [503]
        async with delivered_by(api, store=bucket(server, "another")):
            run = await finished(api, database_url, STORE)
            state, error, _ = await tried(database_url, 1)
            assert (state, "503" in error, "\n" in error) == ("waiting", True, False)
            assert server.puts == 1
            later(api, minutes=2)
            state, error, _ = await tried(database_url, 2)
            assert (state, "the bucket does not take it" in error, "another" in error) == ("waiting", True, False)
        later(api, minutes=7)
        async with delivered_by(api, store=bucket(server)):
            assert await settled(database_url) == ["delivered"]
            await finished(api, database_url, STORE, STORE)
            assert await settled(database_url) == ["delivered"] * 3
        assert len(server.objects) == 2
        name = next(name for name in server.objects if str(run) in name)
        assert name.startswith(f"/reports/acme/{api.organization}/")
        assert name.endswith(f"/2026-03-09T08-00/{run}-pnl-2026-03-02-2026-03-08.pdf")
        assert set(server.objects.values()) == {("application/pdf", FILE)}
        assert rows(database_url, "attempts") == [3, 1, 1]


async def test_a_process_ends_well_after_a_bucket_that_was_away() -> None:
    """obstore's asynchronous form may abort a process that ends right after an answer."""
    program = (
        "import asyncio, obstore\n"
        "from jobs.delivery.bucket import BucketPlace, ReportBucket\n"
        f"bucket = ReportBucket(BucketPlace('b', '', 'http://127.0.0.1:{free_port()}', 'r', 'k', 's'))\n"
        "async def away():\n"
        "    try:\n"
        "        await bucket.store('a', b'x', 'text/plain')\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
        "asyncio.run(away())\n"
    )
    # As Docker Compose leaves what is not set.
    empty = {**os.environ, "AWS_REGION": "", "AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": ""}
    ended = await asyncio.gather(
        *(
            asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT, env=empty, stdout=subprocess.PIPE)
            for _ in range(3)
        )
    )
    for process in ended:
        out, _ = await process.communicate()
        assert (process.returncode, out) == (0, b"NotDelivered\n")
