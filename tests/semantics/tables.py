"""What spans mean: one row a span, with its attributes in old and in new conventions."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.trace import SpanKind

CLIENT, CONSUMER = SpanKind.CLIENT, SpanKind.CONSUMER
INTERNAL, PRODUCER, SERVER = SpanKind.INTERNAL, SpanKind.PRODUCER, SpanKind.SERVER


class Row(NamedTuple):
    """A span, and what Sentry calls it."""

    id: str
    name: str
    kind: SpanKind
    op: str
    description: str
    transaction: str
    source: str
    old: dict[str, Any]
    new: dict[str, Any] | None = None
    """Where it is missing there is only one convention."""


def _http(method: str, path: str = "", route: str = "", url: str = "", **more: Any) -> tuple:
    old = {"http.method": method, "http.target": path, "http.route": route, "http.url": url}
    path, _, query = path.partition("?")
    new = {"http.request.method": method, "url.path": path, "http.route": route, "url.full": url}
    new["url.query"] = query
    return tuple(
        {key: value for key, value in {**one, **more}.items() if value} for one in (old, new)
    )


def _db(system: str, statement: str = "", **more: Any) -> tuple:
    old = {"db.system": system, "db.statement": statement, **more}
    new = {"db.system.name": system, "db.query.text": statement, **more}
    return tuple({key: value for key, value in one.items() if value} for one in (old, new))


def _message(system: str, operation: str, queue: str, **more: Any) -> tuple:
    old = {"messaging.system": system, "messaging.operation": operation}
    new = {"messaging.system": system, "messaging.operation.type": operation}
    return (
        {**old, "messaging.destination": queue, **more},
        {**new, "messaging.destination.name": queue, **more},
    )


LONG = "x" * 300
ID = "0f8fad5bd9cb469fa165"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:resize"
TASK = {"celery.action": "run", "celery.task_name": "shop.pack"}

# fmt: off
ROWS = (
    # HTTP servers
    Row("route", "GET /items/{id}", SERVER, "http.server", "GET /items/{id}", "GET /items/{id}",
        "route", *_http("GET", "/items/5?x=1", "/items/{id}")),
    Row("unmatched", "GET", SERVER, "http.server", "GET /nowhere/7", "GET /nowhere/7",
        "url", *_http("GET", "/nowhere/7?x=1")),
    Row("asgi without routes", "GET /users/7", SERVER, "http.server", "GET /users/7",
        "GET /users/7", "url", *_http("GET", "/users/7")),
    Row("wsgi names are decoded", "GET /é/7", SERVER, "http.server", "GET /app/%C3%A9/7",
        "GET /app/%C3%A9/7", "url", *_http("GET", "/app/%C3%A9/7?x=1")),
    Row("django", "GET items/<int:pk>/", SERVER, "http.server", "GET items/<int:pk>/",
        "GET items/<int:pk>/", "route", *_http("GET", "/items/5/", "items/<int:pk>/")),
    Row("a name of old", "HTTP GET", SERVER, "http.server", "GET /items/{id}", "GET /items/{id}",
        "route", *_http("GET", "/items/5", "/items/{id}")),
    Row("an unknown method", "HTTP /items/{id}", SERVER, "http.server", "HTTP /items/{id}",
        "HTTP /items/{id}", "route", *_http("_OTHER", "/items/5", "/items/{id}")),
    Row("an unknown method and a route", "BREW /items/{id}", SERVER, "http.server",
        "HTTP /items/{id}", "HTTP /items/{id}", "route",
        *_http("_OTHER", "/items/5", "/items/{id}")),
    Row("an unknown method and django", "BREW items/<int:pk>/", SERVER, "http.server",
        "HTTP items/<int:pk>/", "HTTP items/<int:pk>/", "route",
        *_http("_OTHER", "/items/5/", "items/<int:pk>/")),
    Row("an unknown method and a path", "BREW /users/7", SERVER, "http.server", "HTTP /users/7",
        "HTTP /users/7", "url", *_http("_OTHER", "/users/7")),
    Row("an unknown method and falcon", "BREW /items/{id}", SERVER, "http.server",
        "HTTP /items/{id}", "HTTP /items/{id}", "custom", *_http("_OTHER", "/items/5")),
    Row("an unknown method, renamed", "brew coffee", SERVER, "http.server", "brew coffee",
        "brew coffee", "custom", *_http("_OTHER", "/items/5", "/items/{id}")),
    Row("nothing but a method", "GET", SERVER, "http.server", "GET", "GET", "url", *_http("GET")),
    Row("a method and no name", "", SERVER, "http.server", "GET", "GET", "url", *_http("GET")),
    Row("no route and no path", "GET /users/7", SERVER, "http.server", "GET /users/7",
        "GET /users/7", "url", *_http("GET")),
    Row("only an url", "GET", SERVER, "http.server", "GET /a/b", "GET /a/b", "url",
        *_http("GET", url="http://host/a/b?x=1#y")),
    Row("a proxy's target", "GET", SERVER, "http.server", "GET /a", "GET /a", "url",
        {"http.method": "GET", "http.target": "http://host/a?x=1"},
        {"http.request.method": "GET", "url.full": "http://host/a?x=1"}),
    Row("renamed", "checkout", SERVER, "http.server", "checkout", "checkout", "custom",
        *_http("GET", "/items/5", "/items/{id}")),
    Row("renamed without a route", "check out", SERVER, "http.server", "check out", "check out",
        "custom", *_http("GET", "/items/5")),
    Row("renamed with a path", "GET /v1/checkout", SERVER, "http.server", "GET /v1/checkout",
        "GET /v1/checkout", "custom", *_http("GET", "/items/5", "/items/{id}")),
    Row("renamed with a verb", "GET a coffee", SERVER, "http.server", "GET a coffee",
        "GET a coffee", "custom", *_http("GET", "/coffee", "/coffee")),
    Row("an id is no route", f"GET /orders/{ID}", SERVER, "http.server", f"GET /orders/{ID}",
        f"GET /orders/{ID}", "url", *_http("GET", f"/orders/{ID}", f"/orders/{ID}")),
    Row("a number is no route", "GET /orders/7", SERVER, "http.server", "GET /orders/7",
        "GET /orders/7", "url", *_http("GET", "/orders/7", "/orders/7")),
    Row("a fixed route", "GET /v1/health-and-readiness", SERVER, "http.server",
        "GET /v1/health-and-readiness", "GET /v1/health-and-readiness", "route",
        *_http("GET", "/v1/health-and-readiness", "/v1/health-and-readiness")),
    Row("a long path", "GET", SERVER, "http.server", f"GET /{LONG}", f"GET /{LONG}"[:197] + "...",
        "url", *_http("GET", f"/{LONG}")),
    Row("a request inside a request", "GET /items/{id}", INTERNAL, "http", "GET /items/{id}",
        "GET /items/{id}", "route", *_http("GET", "/items/5", "/items/{id}")),
    Row("a function behind a gateway", "main.handler", SERVER, "http.server", "main.handler",
        "main.handler", "component",
        *_http("GET", "/items/5", "/items/{id}", **{"faas.trigger": "http"})),
    Row("a function behind a gateway, without its trigger", "main.handler", SERVER, "http.server",
        "main.handler", "main.handler", "component",
        {**_http("GET", "/items/5", "/items/{id}")[0], "faas.execution": "1"},
        {**_http("GET", "/items/5", "/items/{id}")[1], "faas.invocation_id": "1"}),
    # WebSocket servers
    Row("contrib's websocket", "HTTP /ws/{room}", SERVER, "websocket.server", "/ws/{room}",
        "/ws/{room}", "route",
        {"http.scheme": "ws", "http.target": "/ws/7", "http.route": "/ws/{room}"},
        {"url.scheme": "ws", "url.path": "/ws/7", "http.route": "/ws/{room}"}),
    Row("contrib's websocket of old", "/ws/{room}", SERVER, "websocket.server", "/ws/{room}",
        "/ws/{room}", "route",
        {"http.scheme": "wss", "http.target": "/ws/7", "http.route": "/ws/{room}"},
        {"url.scheme": "wss", "url.path": "/ws/7", "http.route": "/ws/{room}"}),
    Row("an unmatched websocket", "HTTP", SERVER, "websocket.server", "/ws/7", "/ws/7", "url",
        {"http.scheme": "ws", "http.target": "/ws/7"}, {"url.scheme": "ws", "url.path": "/ws/7"}),
    Row("a renamed websocket", "chat", SERVER, "websocket.server", "chat", "chat", "custom",
        {"http.scheme": "ws", "http.target": "/ws/7"}, {"url.scheme": "ws", "url.path": "/ws/7"}),
    Row("fastapi's websocket", "WS /ws/{room}", SERVER, "websocket.server", "/ws/{room}",
        "/ws/{room}", "route", {"url.scheme": "https", "network.protocol.name": "websocket",
                                "http.route": "/ws/{room}"}),
    Row("fastapi's unmatched websocket", "WS", SERVER, "websocket.server", "WEBSOCKET",
        "WEBSOCKET", "url", {"url.scheme": "ws", "network.protocol.name": "websocket"}),
    # HTTP clients
    Row("client", "GET", CLIENT, "http.client", "GET https://api.example/users/7",
        "GET https://api.example/users/7", "url",
        *_http("GET", url="https://u:p@api.example/users/7?token=1#part")),
    Row("client of old", "HTTP GET", CLIENT, "http.client", "GET http://api.example",
        "GET http://api.example", "url", *_http("GET", url="http://api.example?x=1")),
    Row("client with a template", "GET /users/{id}", CLIENT, "http.client", "GET http://h/users/7",
        "GET http://h/users/7", "url", *_http("GET", url="http://h/users/7")),
    Row("client without an url", "GET", CLIENT, "http.client", "GET /users/7", "GET /users/7",
        "url", *_http("GET", "/users/7?x=1")),
    Row("client that knows nothing", "GET", CLIENT, "http.client", "GET", "GET", "url",
        *_http("GET")),
    Row("client without a name", "", CLIENT, "http.client", "GET", "GET", "url", *_http("GET")),
    Row("renamed client", "fetch prices", CLIENT, "http.client", "fetch prices", "fetch prices",
        "custom", *_http("GET", url="http://h/users/7")),
    Row("no url at all", "GET", CLIENT, "http.client", "GET //[::x", "GET //[::x", "url",
        *_http("GET", url="//[::x")),
    # Databases and caches
    Row("sql", "SELECT shop", CLIENT, "db", "SELECT * FROM items", "SELECT shop", "custom",
        *_db("postgresql", "SELECT * FROM items")),
    Row("sql summary", "SELECT shop", CLIENT, "db", "SELECT items", "SELECT shop", "custom",
        *_db("postgresql", **{"db.query.summary": "SELECT items"})),
    Row("connect", "connect", CLIENT, "db", "connect", "connect", "custom", *_db("sqlite")),
    Row("mongodb", "items.find", CLIENT, "db", '{"find": "items"}', "items.find", "custom",
        *_db("mongodb", '{"find": "items"}')),
    Row("elasticsearch speaks http", "Elasticsearch/_search", CLIENT, "db",
        "Elasticsearch/_search", "Elasticsearch/_search", "custom",
        *_db("elasticsearch", **{"http.request.method": "GET", "url.full": "http://es/_search"})),
    Row("redis get", "GET", CLIENT, "cache.get", "GET ?", "GET", "custom", *_db("redis", "GET ?")),
    Row("redis key", "GET", CLIENT, "cache.get", "cart, user", "GET", "custom",
        *_db("redis", "MGET ? ?", **{"cache.key": ("cart", "user", 7)})),
    Row("redis one key", "GET", CLIENT, "cache.get", "cart", "GET", "custom",
        *_db("redis", "GET ?", **{"cache.key": "cart"})),
    Row("redis set", "set", CLIENT, "cache.put", "set ? ?", "set", "custom",
        *_db("redis", "set ? ?")),
    Row("redis del", "DEL", CLIENT, "cache.remove", "DEL ?", "DEL", "custom",
        *_db("redis", "DEL ?")),
    Row("redis flush", "FLUSHDB", CLIENT, "cache.flush", "FLUSHDB", "FLUSHDB", "custom",
        *_db("redis", "FLUSHDB")),
    Row("redis other", "HGET", CLIENT, "db.redis", "HGET ? ?", "HGET", "custom",
        *_db("redis", "HGET ? ?")),
    Row("redis pipeline", "GET SET", CLIENT, "db.redis", "GET ?\nSET ? ?", "GET SET", "custom",
        *_db("redis", "GET ?\nSET ? ?")),
    Row("redis empty pipeline", "redis", CLIENT, "db.redis", "redis", "redis", "custom",
        *_db("redis")),
    Row("redis without a statement", "read the cart", CLIENT, "cache.get", "read the cart",
        "read the cart", "custom",
        {"db.system": "redis", "db.operation": "GET"},
        {"db.system.name": "redis", "db.operation.name": "GET"}),
    Row("memcached", "get", CLIENT, "cache.get", "get cart", "get", "custom",
        *_db("memcached", "get cart")),
    Row("memcached other", "stats", CLIENT, "db", "stats", "stats", "custom",
        *_db("memcached", "stats")),
    # Messages
    Row("celery publish starts", "apply_async/shop.pack", PRODUCER, "queue.publish", "shop.pack",
        "shop.pack", "task", {}),
    Row("celery publish", "apply_async/shop.pack", PRODUCER, "queue.publish", "shop.pack",
        "shop.pack", "task", {**TASK, "celery.action": "apply_async"}),
    Row("celery run starts", "run/shop.pack", CONSUMER, "queue.process", "shop.pack", "shop.pack",
        "task", {}),
    Row("celery run", "run/shop.pack", CONSUMER, "queue.process", "shop.pack", "shop.pack", "task",
        {**TASK, "messaging.system": "redis"}),
    Row("celery renamed", "pack the order", CONSUMER, "queue.process", "pack the order",
        "pack the order", "custom", TASK),
    Row("another system's run", "run/7", CONSUMER, "queue.process", "run/7", "run/7", "task",
        {"messaging.system": "kafka"}),
    Row("kafka send", "orders send", PRODUCER, "queue.publish", "orders send", "orders send",
        "custom", *_message("kafka", "send", "orders")),
    Row("kafka receive", "orders receive", CLIENT, "queue.receive", "orders receive",
        "orders receive", "custom", *_message("kafka", "receive", "orders")),
    Row("kafka process", "orders process", CONSUMER, "queue.process", "orders process",
        "orders process", "task", *_message("kafka", "process", "orders")),
    Row("rabbitmq's callback", "orders receive", CONSUMER, "queue.process", "orders receive",
        "orders receive", "task", *_message("rabbitmq", "receive", "orders")),
    Row("settle", "ack orders", CLIENT, "queue.settle", "ack orders", "ack orders", "custom",
        {"messaging.system": "rabbitmq", "messaging.operation.name": "ack"}),
    Row("contrib's kafka", "orders receive", CONSUMER, "queue.process", "orders receive",
        "orders receive", "task", {"messaging.system": "kafka", "messaging.destination": "orders"}),
    Row("contrib's aio-pika", ",orders send", PRODUCER, "queue.publish", ",orders send",
        ",orders send", "custom", {"messaging.destination": ",orders"}),
    Row("sqs", "SQS.SendMessage", CLIENT, "queue.publish", "SQS.SendMessage", "SQS.SendMessage",
        "custom",
        {"messaging.system": "aws.sqs", "rpc.system": "aws-api", "rpc.method": "SendMessage"},
        {"messaging.system": "aws_sqs", "rpc.system.name": "aws-api", "rpc.method": "SendMessage"}),
    Row("an unknown operation", "purge orders", CLIENT, "queue", "purge orders", "purge orders",
        "custom", *_message("rabbitmq", "purge", "orders")),
    Row("a webhook's producer", "notify", PRODUCER, "queue.publish", "notify", "notify", "custom",
        *_http("POST", url="http://h/hook")),
    # Remote procedure calls
    Row("grpc server", "/shop.Shop/Pay", SERVER, "grpc.server", "/shop.Shop/Pay",
        "/shop.Shop/Pay", "route", {"rpc.system": "grpc"}, {"rpc.system.name": "grpc"}),
    Row("grpc client", "/shop.Shop/Pay", CLIENT, "grpc.client", "/shop.Shop/Pay",
        "/shop.Shop/Pay", "custom", {"rpc.system": "grpc"}, {"rpc.system.name": "grpc"}),
    Row("aws client", "S3.GetObject", CLIENT, "rpc.client", "S3.GetObject", "S3.GetObject",
        "custom", {"rpc.system": "aws-api"}, {"rpc.system.name": "aws-api"}),
    Row("rpc inside", "", INTERNAL, "rpc", "shop.Shop/Pay", "shop.Shop/Pay", "custom",
        {"rpc.system": "dubbo", "rpc.service": "shop.Shop", "rpc.method": "Pay"},
        {"rpc.system.name": "dubbo", "rpc.service": "shop.Shop", "rpc.method": "Pay"}),
    # GraphQL
    Row("graphql mutation", "mutation Pay", INTERNAL, "graphql.mutation", "mutation Pay",
        "mutation Pay", "component", {"graphql.operation.type": "mutation"}),
    Row("graphql unknown", "Pay", INTERNAL, "graphql", "Pay", "Pay", "component",
        {"graphql.operation.name": "Pay"}),
    Row("strawberry", "GraphQL Query: Pay", SERVER, "graphql.execute", "GraphQL Query: Pay",
        "GraphQL Query: Pay", "component", {"component": "graphql"}),
    Row("strawberry's parser", "GraphQL Parsing", INTERNAL, "graphql.parse", "GraphQL Parsing",
        "GraphQL Parsing", "component", {}),
    Row("a name like strawberry's", "GraphQL gateway", INTERNAL, "graphql", "GraphQL gateway",
        "GraphQL gateway", "component", {}),
    # Functions as a service
    Row("function", "resize", SERVER, "function.aws", "resize", "resize", "component",
        {"faas.trigger": "timer", "cloud.provider": "aws"}),
    Row("function's handler", "main.handler", SERVER, "function", "resize", "resize", "component",
        {"faas.trigger": "datasource", "faas.name": "resize"}),
    Row("contrib's lambda", "resize", SERVER, "function.aws", "resize", "resize", "component",
        {"faas.execution": "1", "faas.id": ARN},
        {"faas.invocation_id": "1", "cloud.resource_id": ARN}),
    Row("contrib's lambda of a queue", "resize", SERVER, "function.aws", "resize", "resize",
        "component", {"faas.trigger": "pubsub", "faas.execution": "1", "faas.id": ARN},
        {"faas.trigger": "pubsub", "faas.invocation_id": "1", "cloud.resource_id": ARN}),
    Row("a function of another cloud", "resize", SERVER, "function.azure", "resize", "resize",
        "component",
        {"faas.execution": "1", "cloud.provider": "azure", "faas.id": "/subscriptions/7"},
        {"faas.invocation_id": "1", "cloud.provider": "azure",
         "cloud.resource_id": "/subscriptions/7"}),
    Row("a resource that is no function", "sync", INTERNAL, "function", "sync", "sync", "custom",
        {"faas.id": ARN}, {"cloud.resource_id": ARN}),
    # Generative AI
    Row("chat", "chat", CLIENT, "gen_ai.chat", "chat gpt-4o", "chat", "custom",
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}),
    Row("embeddings", "embeddings x", CLIENT, "gen_ai.embeddings", "embeddings x", "embeddings x",
        "custom", {"gen_ai.operation.name": "embeddings"}),
    Row("agent", "agent run", INTERNAL, "gen_ai.invoke_agent", "invoke_agent Weather", "agent run",
        "custom", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Weather",
                   "gen_ai.request.model": "gpt-4o"}),
    Row("tool", "running tool", INTERNAL, "gen_ai.execute_tool", "execute_tool search",
        "running tool", "custom",
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}),
    Row("an operation of its own", "x", CLIENT, "gen_ai", "think hard m", "x", "custom",
        {"gen_ai.operation.name": "think hard", "gen_ai.request.model": "m"}),
    Row("provider only", "openai.chat", CLIENT, "gen_ai", "openai.chat", "openai.chat", "custom",
        {"gen_ai.system": "openai"}, {"gen_ai.provider.name": "openai"}),
    # What follows no convention
    Row("contrib's background task", "BackgroundTask tidy_up", INTERNAL,
        "function.background_task", "tidy_up", "tidy_up", "task", {}),
    Row("fastapi's background task", "fastapi.background_task", INTERNAL,
        "function.background_task", "tidy_up", "tidy_up", "task",
        {"code.function.name": "shop.tasks.tidy_up"}),
    Row("fastapi's nameless background task", "fastapi.background_task", INTERNAL,
        "function.background_task", "fastapi.background_task", "fastapi.background_task", "task",
        {}),
    Row("internal", "price the cart", INTERNAL, "function", "price the cart", "price the cart",
        "custom", {}),
    Row("an unknown client", "LDAP search", CLIENT, "default", "LDAP search", "LDAP search",
        "custom", {}),
    Row("an unknown server", "SMTP session", SERVER, "default", "SMTP session", "SMTP session",
        "custom", {}),
    Row("a consumer", "handle order", CONSUMER, "queue.process", "handle order", "handle order",
        "task", {}),
    Row("a producer", "emit order", PRODUCER, "queue.publish", "emit order", "emit order",
        "custom", {}),
    Row("no name", "", INTERNAL, "function", "<unlabeled transaction>", "<unlabeled transaction>",
        "custom", {}),
    # What the application says itself
    Row("explicit", "GET", SERVER, "queue.task", "words", "pay", "task",
        {**_http("GET", "/pay")[0], "sentry.op": "queue.task", "sentry.name": "pay",
         "sentry.description": "words", "sentry.source": "task"},
        {**_http("GET", "/pay")[1], "sentry.op": "queue.task", "sentry.segment.name": "pay",
         "sentry.description": "words", "sentry.segment.name.source": "task"}),
    Row("explicit name", "work", INTERNAL, "function", "work", "pay", "custom",
        {"sentry.name": "pay"}),
    Row("explicit source", "GET", SERVER, "http.server", "GET /pay", "GET /pay", "route",
        {**_http("GET", "/pay")[0], "sentry.source": "route"}),
    Row("an unknown source", "GET", SERVER, "http.server", "GET /pay", "GET /pay", "url",
        {**_http("GET", "/pay")[0], "sentry.source": "guess"}),
    Row("a long explicit op and name", "work", INTERNAL, "y" * 128, "work", "x" * 197 + "...",
        "custom", {"sentry.name": LONG, "sentry.op": "y" * 300}),
    Row("explicit values that are no texts", "work", INTERNAL, "function", "work", "work",
        "custom", {"sentry.name": 7, "sentry.op": None, "sentry.source": ("route",)}),
)
# fmt: on
