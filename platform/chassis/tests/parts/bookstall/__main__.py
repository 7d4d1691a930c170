from bookstall.service import service
from chassis import run

run(service)
