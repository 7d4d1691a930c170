"""A service of this platform, with its metrics, its access log in JSON, and its limits."""

from bench.http_get.route import router
from chassis import Service, ServiceSettings, run

service = Service("items", settings=ServiceSettings, http=[router])

if __name__ == "__main__":
    run(service)
