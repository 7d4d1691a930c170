from chassis import run
from inventory.service import service

run(service)
