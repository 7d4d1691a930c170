# A database for each folder in /run/secrets/databases, and two roles with the passwords in it:
# NAME_owner owns the schema and migrates it, NAME may change rows and make temporary tables.
# Existing objects are left as they are, except for passwords and grants.
set -eu
export PGUSER=postgres PGPASSWORD="$POSTGRES_PASSWORD"

for folder in /run/secrets/databases/*/; do
  name=$(basename "$folder")
  psql --quiet --no-psqlrc --dbname postgres --set ON_ERROR_STOP=1 \
    --set name="$name" --set owner="${name}_owner" \
    --set owner_password="$(cat "$folder/owner")" --set password="$(cat "$folder/service")" <<'SQL'
SELECT format('CREATE ROLE %I', role) FROM unnest(ARRAY[:'owner', :'name']) AS role
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE :"name" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'owner')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"name" TO :"owner", :"name";
\connect :"name"
ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"name";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"name";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT USAGE, SELECT ON SEQUENCES TO :"name";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"name";
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :"name";
SQL
  echo "database $name: ready for its owner and its service"
done
