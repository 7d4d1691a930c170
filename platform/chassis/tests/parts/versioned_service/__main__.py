from chassis import run
from versioned_service.service import service

run(service)
