from orders.service import service

service.run()
