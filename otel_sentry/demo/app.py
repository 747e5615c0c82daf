"""The shop's web application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import func, select

from . import cache, tasks
from .models import Item, Order, create_tables, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class NewOrder(BaseModel):
    """What a customer fills in at the checkout."""

    item_id: int
    quantity: int = 1
    email: str
    password: str


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    create_tables()
    yield


app = FastAPI(title="Shop", lifespan=_lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the shop is open."""
    return {"status": "open"}


@app.get("/items")
def list_items() -> list[dict[str, Any]]:
    """List what is on sale."""
    with transaction() as session:
        return [_to_json(item) for item in session.scalars(select(Item).order_by(Item.id))]


@app.get("/items/{item_id}")
def read_item(item_id: int) -> dict[str, Any]:
    """Show one item, from the cache if it is there."""
    cached = cache.read_item(item_id)
    if cached is not None:
        return cached
    with transaction() as session:
        item = session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, f"There is no item {item_id}.")
    cache.write_item(item_id, _to_json(item))
    return _to_json(item)


@app.post("/orders", status_code=201)
def create_order(new: NewOrder) -> dict[str, Any]:
    """Write the order down and leave the rest to the worker."""
    read_item(new.item_id)
    with transaction() as session:
        order = Order(item_id=new.item_id, quantity=new.quantity, email=new.email)
        session.add(order)
    tasks.send_receipt.delay(order.id)
    tasks.charge_card.delay(order.id)
    return {"order_id": order.id, "status": order.status}


@app.get("/orders/{order_id}")
def read_order(order_id: int) -> dict[str, Any]:
    """Tell how far an order is."""
    with transaction() as session:
        order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, f"There is no order {order_id}.")
    return {"order_id": order.id, "status": order.status, "receipt_sent": order.receipt_sent}


@app.post("/stock/sync", status_code=202)
def sync_stock(supplier: str = "acme") -> dict[str, str]:
    """Have the worker ask the supplier what is left."""
    tasks.sync_stock.delay(supplier)
    return {"status": "started"}


@app.get("/report")
def report(token: str) -> dict[str, float]:  # noqa: ARG001 - the link in the owner's mail has one
    """Report the average value of the returned orders; nobody ever returned one, so it fails."""
    with transaction() as session:
        returned = session.scalar(
            select(func.count()).select_from(Order).where(Order.status == "returned")
        )
    return {"average_cents": _average(total_cents=0, orders=returned or 0)}


def _average(*, total_cents: int, orders: int) -> float:
    return total_cents / orders


def _to_json(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "price_cents": item.price_cents,
        "stock": item.stock,
    }
