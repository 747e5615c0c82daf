"""The shop's database: items and orders."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

DATABASE_URL = os.environ.get("SHOP_DATABASE_URL") or "sqlite:///shop.db"

engine = create_engine(DATABASE_URL)
_Session = sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The declarative base of the shop's tables."""


class Item(Base):
    """Something on sale."""

    __tablename__ = "shop_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    price_cents: Mapped[int]
    stock: Mapped[int]


class Order(Base):
    """What a customer bought."""

    __tablename__ = "shop_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("shop_items.id"))
    email: Mapped[str] = mapped_column(String(200))
    quantity: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default="placed")
    receipt_sent: Mapped[bool] = mapped_column(default=False)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session that commits at the end of the block."""
    with _Session.begin() as session:
        yield session


def create_tables() -> None:
    """Create the tables and fill the shelves of a new shop."""
    Base.metadata.create_all(engine)
    with transaction() as session:
        if session.scalar(select(Item.id).limit(1)) is None:
            session.add_all(
                [
                    Item(name="Teapot", price_cents=2490, stock=12),
                    Item(name="Kettle", price_cents=3990, stock=7),
                    Item(name="Tea towel", price_cents=690, stock=40),
                ]
            )
