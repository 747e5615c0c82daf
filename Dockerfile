# One image for the demo shop's api, worker and beat; docker-compose.yml tells them apart.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY otel_sentry ./otel_sentry
RUN python -m venv /app && /app/bin/pip install --no-cache-dir '.[demo]' 'psycopg[binary]>=3.2'

FROM python:3.12-slim
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10002 --no-create-home shop
USER 10002
WORKDIR /tmp
EXPOSE 8000
CMD ["opentelemetry-instrument", "uvicorn", "otel_sentry.demo.app:app", "--host", "0.0.0.0", "--port", "8000"]
