"""One database for all sandboxes, with a role for each. Blocking; called in threads.

It may have been there before us and have other users. What they may do does not change: gaps that
everybody has are refused or told, never closed, and row security is switched on so that only the
sandboxes notice.
"""

from psycopg import sql

from sandbox_sdk.databases.access import Access
from tool_plugins.errors import ConfigurationError

from . import hardening, policies, template
from .admin import Admin, Connection, execute
from .catalog import read_catalog
from .grants import grant_statements, resolve
from .home import Home, Setting
from .names import LOCK_KEY, copy_name
from .rehearsal import rehearse
from .removal import disown, drop_role, end_sessions, role_exists
from .requirements import check_operator, operator_gaps, settle
from .roles import new_password, put_role

BOOTSTRAP = "postgres"
COMMENT = "sandbox_sdk: population "


class Shared(Home):
    """All sandboxes use one database."""

    def __init__(self, setting: Setting) -> None:
        self._name = setting.server.dbname
        super().__init__(setting, maintenance=self._name)
        self._bootstrap = Admin(setting.server, maintenance=BOOTSTRAP)

    def open(self) -> None:
        """Makes the database if it is not there, and tries the rules in it."""
        self.admin.repeat(self._open)

    def close(self) -> None:
        """Ends what runs and closes every connection. Idempotent."""
        super().close()
        self._bootstrap.stop()
        self._bootstrap.close()

    def create(self, sandbox_id: str, access: Access) -> dict[str, str]:
        """Makes the role, or makes it as if it were new, with its rights."""
        role = copy_name(sandbox_id, self.setting.database.name)
        password = new_password()

        def work() -> None:
            with self.admin.maintaining() as connection, connection.transaction():
                self._put(connection, role, password, access)

        self.admin.repeat(work)
        return self.setting.server.restricted(dbname=self._name, user=role, password=password)

    def drop(self, sandbox_id: str) -> None:
        """Removes the role with its rights and policies."""
        role = copy_name(sandbox_id, self.setting.database.name)
        self.admin.repeat(lambda: self._remove(role))

    def terminate(self, sandbox_id: str) -> None:
        """Ends the role's sessions."""
        role = copy_name(sandbox_id, self.setting.database.name)

        def work() -> None:
            with self.admin.maintaining() as connection:
                end_sessions(self.admin, connection, role)

        self.admin.repeat(work)

    def _open(self) -> None:
        setting = self.setting
        if not self._present():
            self._make()
        with self.admin.maintaining() as connection:
            operator = self.operator(connection)
            check_operator(operator, setting.database)
            self._check_population(connection)
            gaps = operator_gaps(connection, operator, self._name)
            gaps += hardening.find_gaps(connection, own=False)
            settle(setting.database, gaps, setting.report)
            rehearse(connection, setting.database, read_catalog(connection))

    def _put(self, connection: Connection, role: str, password: str, access: Access) -> None:
        """Within a transaction: what others see is either all of it or nothing."""
        # Two that change rights on one table at once would fail.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        operator = self.operator(connection)
        there = role_exists(connection, role)
        put_role(
            connection,
            role,
            password,
            home=self._name,
            operator=operator,
            database=self.setting.database,
            access=access,
        )
        if there:
            policies.drop_policies(connection, role)
            execute(connection, [disown(role)])
        grants = resolve(access, read_catalog(connection))
        limited = policies.restricted(grants)
        statements: list[sql.Composable] = [
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(self._name), sql.Identifier(role)
            ),
            *grant_statements(grants, role),
            policies.SEARCH_PATH,
            *policies.prepare_tables(connection, limited),
            *(policies.policy(grant, role) for grant in limited),
        ]
        execute(connection, statements)

    def _remove(self, role: str) -> None:
        with self.admin.maintaining() as connection:
            if not role_exists(connection, role):
                return
            execute(connection, [sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role))])
            end_sessions(self.admin, connection, role)
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
                policies.drop_policies(connection, role)
                execute(connection, [disown(role)])
                policies.forget_tables(connection)
            drop_role(self.admin, connection, role)

    def _present(self) -> bool:
        try:
            with self.admin.maintaining():
                return True
        except ConfigurationError:
            # It is not there, or does not accept the operator; libpq says which only in words.
            with self._bootstrap.maintaining() as connection:
                if template.exists(connection, self._name):
                    raise
            return False

    def _make(self) -> None:
        setting = self.setting
        if setting.population is None:
            raise ConfigurationError(
                f"database {setting.database.name!r}: the server has no database {self._name!r}",
                hint="create it, or give it an initial population",
            )
        with template.locked(self._bootstrap, setting.report) as connection:
            operator = self.operator(connection)
            check_operator(operator, setting.database)
            comment = COMMENT + setting.population.digest
            plan = template.Plan(self._name, setting.population, comment, closed=False)
            template.build(self._bootstrap, connection, plan, operator, setting.report)

    def _check_population(self, connection: Connection) -> None:
        if self.setting.population is None:
            return
        comment = template.comment_of(connection, self._name) or ""
        title = f"database {self.setting.database.name!r}: {self._name!r} on the server"
        if not comment.startswith(COMMENT):
            raise ConfigurationError(
                f"{title} was not made from an initial population",
                hint="leave the population out, or name a database that is not there yet",
            )
        if comment != COMMENT + self.setting.population.digest:
            raise ConfigurationError(
                f"{title} was made from another initial population",
                hint="name another database, or drop this one (with all its data) to make it anew",
            )
