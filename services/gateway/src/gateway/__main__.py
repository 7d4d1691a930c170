from chassis import run
from gateway.service import service

run(service)
