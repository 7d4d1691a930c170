"""A process with FastAPI, gRPC, NATS and SQLAlchemy that serves nothing of its own."""

import asyncio
import os

import grpc.aio
import nats
import sqlalchemy
import uvicorn
import uvloop
from fastapi import FastAPI
from sqlalchemy.orm import Session

from bench.variables import port


async def serve() -> None:
    """Serve until the process ends."""
    config = uvicorn.Config(FastAPI(), port=0, log_config=None)
    http = asyncio.create_task(uvicorn.Server(config).serve())
    server = grpc.aio.server()
    server.add_insecure_port(f"127.0.0.1:{port()}")
    await server.start()
    client = await nats.connect(os.environ["BENCH_NATS"])
    with Session(sqlalchemy.create_engine("sqlite://")) as session:
        session.execute(sqlalchemy.text("SELECT 1"))
    await http
    await client.close()


if __name__ == "__main__":
    uvloop.run(serve())
