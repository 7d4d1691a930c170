from chassis import run
from payments.service import service

run(service)
