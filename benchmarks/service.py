"""
The service workload: FastAPI, SQLAlchemy on SQLite, Redis, and a Celery task for each order.

    uvicorn service:app
    celery -A service:celery_app worker

What observes it is named by BENCH_PEER; the code below is the same for all.
"""

from __future__ import annotations

import os

import peers

PEER = os.environ["BENCH_PEER"]
if PEER not in peers.LAUNCHED:  # those come with the launcher
    peers.set_up(PEER)
    peers.instrument(PEER)

# Instrumentations want to come first.
import redis  # noqa: E402
from celery import Celery  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from sqlalchemy import create_engine, event, select  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column  # noqa: E402

engine = create_engine(f"sqlite:///{os.environ['BENCH_DATABASE']}")
cache = redis.Redis.from_url(os.environ["BENCH_REDIS"])
celery_app = Celery("service", broker=os.environ["BENCH_REDIS"])
celery_app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=64)
app = FastAPI()
peers.instrument_app(PEER, app)


@event.listens_for(engine, "connect")
def _no_disk(connection, _record) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


class Base(DeclarativeBase):
    """The tables."""


class Item(Base):
    """What is on sale."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    sold: Mapped[int]


class Order(BaseModel):
    """What a customer sends."""

    item_id: int


def create_tables() -> None:
    """Fill a new database."""
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(Item(id=number, name=f"Item {number}", sold=0) for number in range(1, 101))


@app.get("/items/{item_id}")
def read_item(item_id: int) -> dict[str, object]:
    """Read one row, and three values of the cache."""
    cache.incr(f"seen:{item_id}")
    cache.get(f"price:{item_id}")
    with Session(engine) as session:
        item = session.scalars(select(Item).where(Item.id == item_id)).one()
    cache.set(f"name:{item_id}", item.name)
    return {"id": item.id, "name": item.name, "sold": item.sold}


@app.post("/orders")
def order(new: Order) -> dict[str, object]:
    """Leave the work to the worker."""
    cache.get(f"price:{new.item_id}")
    pack.delay(new.item_id)
    return {"ordered": new.item_id}


@celery_app.task(name="service.pack")
def pack(item_id: int) -> None:
    """Write one row, and say that it is done."""
    with Session(engine) as session, session.begin():
        session.get_one(Item, item_id).sold += 1
    cache.incr("packed")
