from chassis import run
from orders.service import service

run(service)
