from payments.service import service

service.run()
