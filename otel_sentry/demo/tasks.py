"""What the shop does after the customer has gone: receipts, payments, parcels, stock."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from sqlalchemy import update

from . import cache
from .models import Item, Order, transaction

BROKER_URL = os.environ.get("SHOP_BROKER_URL") or "redis://localhost:6379/1"

# Any, because Celery is not typed.
celery_app: Any = Celery("shop", broker=BROKER_URL)
celery_app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_serializer="json",
)


@celery_app.task(bind=True, name="shop.send_receipt", max_retries=3)  # type: ignore[untyped-decorator]
def send_receipt(self: Any, order_id: int) -> None:
    """Mail the receipt; try again in a second if the mail server is busy."""
    try:
        _hand_to_mail_server(attempt=self.request.retries)
    except ConnectionError as error:
        raise self.retry(exc=error, countdown=1) from error
    with transaction() as session:
        session.execute(update(Order).where(Order.id == order_id).values(receipt_sent=True))


@celery_app.task(name="shop.charge_card")  # type: ignore[untyped-decorator]
def charge_card(order_id: int) -> None:
    """Take the money, then have the parcel packed."""
    with transaction() as session:
        order = session.get_one(Order, order_id)
        item = session.get_one(Item, order.item_id)
        order.status = "paid"
    cache.add_to_till(item.price_cents * order.quantity)
    pack_order.delay(order_id)


@celery_app.task(name="shop.pack_order")  # type: ignore[untyped-decorator]
def pack_order(order_id: int) -> None:
    """Take the order's items off the shelf."""
    with transaction() as session:
        order = session.get_one(Order, order_id)
        session.execute(
            update(Item).where(Item.id == order.item_id).values(stock=Item.stock - order.quantity)
        )
        order.status = "packed"
    cache.forget_item(order.item_id)


@celery_app.task(name="shop.sync_stock")  # type: ignore[untyped-decorator]
def sync_stock(supplier: str) -> None:
    """Copy the supplier's stock; this supplier has renamed a field, so it fails for good."""
    for row in _download_stock(supplier):
        with transaction() as session:
            session.execute(
                update(Item).where(Item.name == row["name"]).values(stock=row["in_stock"])
            )


def _hand_to_mail_server(*, attempt: int) -> None:
    if attempt == 0:
        message = "421 mail.example.com: too many connections, try again later"
        raise ConnectionError(message)


def _download_stock(supplier: str) -> list[dict[str, Any]]:
    return [{"supplier": supplier, "name": "Teapot", "available": 12}]
