"""A service whose class lacks the methods of its contract."""

from bookstall.service import Settings
from bookstore.v1 import BooksService
from chassis import Service, run


class Nothing:
    pass


service = Service("bookstore", settings=Settings, grpc=[(BooksService, Nothing)])

if __name__ == "__main__":
    run(service)
