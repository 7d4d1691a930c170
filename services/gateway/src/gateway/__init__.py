"""The gateway: the shop's REST surface. It keeps nothing; it asks orders and inventory."""
