from bookstall.service import service

service.run()
