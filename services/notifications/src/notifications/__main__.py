from notifications.service import service

service.run()
