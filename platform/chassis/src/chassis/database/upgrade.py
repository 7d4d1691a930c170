"""The run of missing revisions by alembic, which is imported only where they are run."""

from sqlalchemy import Connection

from chassis._imports import without
from chassis.database.schema import Code

# It is for error pages of templates.
with without("pygments"):
    from alembic import command
    from alembic.config import Config

__all__ = ["upgrade"]


def upgrade(connection: Connection, code: Code) -> None:
    """Run the missing revisions of the chassis and of the service."""
    config = Config()
    places = [str(folder).replace("%", "%%") for folder in (code.folders[0].parent, *code.folders)]
    config.set_main_option("script_location", places[0])
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(places[1:]))
    config.attributes["connection"] = connection
    command.upgrade(config, "heads")
