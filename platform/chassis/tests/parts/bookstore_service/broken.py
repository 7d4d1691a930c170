"""A service whose class lacks the methods of its contract."""

from bookstore.v1 import BooksService
from bookstore_service.service import Settings
from chassis import Service, run


class Nothing:
    pass


service = Service("bookstore", settings=Settings, grpc=[(BooksService, Nothing)])

if __name__ == "__main__":
    run(service)
