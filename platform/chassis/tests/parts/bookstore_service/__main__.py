from bookstore_service.service import service
from chassis import run

run(service)
