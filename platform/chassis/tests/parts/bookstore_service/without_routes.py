"""The test service without HTTP routes of its own: `python -m bookstore_service.without_routes`."""

from bookstore.v1 import BookReturned, BookSold, BooksService
from bookstore_service.service import Books, Settings, events
from chassis import Service, run

service = Service(
    "bookstore",
    settings=Settings,
    events=[events],
    grpc=[(BooksService, Books)],
    publishes=[BookSold, BookReturned],
)

if __name__ == "__main__":
    run(service)
