from chassis import run
from notifications.service import service

run(service)
