from gateway.service import service

service.run()
