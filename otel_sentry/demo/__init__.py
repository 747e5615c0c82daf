"""The demo shop, written as a team would write it: FastAPI, SQLAlchemy, Redis, Celery."""
