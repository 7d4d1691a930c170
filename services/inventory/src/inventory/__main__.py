from inventory.service import service

service.run()
