"""The gateway: the REST API of the shop. It stores nothing, but calls orders and inventory."""
