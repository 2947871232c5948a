"""A database per sandbox, copied from a template. Blocking; called in threads."""

from collections.abc import Callable

import psycopg
from psycopg import errors, sql

from sandbox_sdk.databases.access import Access
from tool_plugins.errors import SandboxError

from . import hardening, policies, template
from .admin import Connection, execute
from .catalog import Catalog, read_catalog
from .grants import grant_statements, resolve
from .home import Home, Setting
from .names import copy_name, template_name
from .ownership import ownership_statements
from .rehearsal import rehearse
from .removal import disown, drop_role, end_prepared, end_sessions
from .requirements import check_operator, operator_gaps, settle
from .roles import new_password, put_role

MAINTENANCE = "postgres"
EMPTY = "empty"


class Copies(Home):
    """Each sandbox has a database of its own."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, maintenance=setting.server.dbname or MAINTENANCE)
        self._template = ""
        self._catalog: Catalog | None = None

    def open(self) -> None:
        """Makes the template, or finds it, and tries the rules on a copy of it."""
        self.admin.repeat(self._open)

    def create(self, sandbox_id: str, access: Access) -> dict[str, str]:
        """Makes role and copy. Data of a copy that is there stays; the role becomes as if new."""
        name = copy_name(sandbox_id, self.setting.database.name)
        password = new_password()
        made: list[str] = []

        def work() -> None:
            try:
                self._put(name, password, access, made)
            except errors.InvalidCatalogName:
                self._open()  # somebody dropped the template; it is made anew
                raise

        try:
            self.admin.repeat(work)
        except BaseException:
            if made:
                self._remove_quietly(name)
            raise
        return self.setting.server.restricted(dbname=name, user=name, password=password)

    def drop(self, sandbox_id: str) -> None:
        """Drops the copy with the sessions in it, then the role."""
        name = copy_name(sandbox_id, self.setting.database.name)
        self.admin.repeat(lambda: self._remove(name))

    def terminate(self, sandbox_id: str) -> None:
        """Ends the role's sessions."""
        name = copy_name(sandbox_id, self.setting.database.name)

        def work() -> None:
            with self.admin.maintaining() as connection:
                end_sessions(self.admin, connection, name)

        self.admin.repeat(work)

    def _open(self) -> None:
        setting = self.setting
        with self.admin.maintaining() as connection:
            operator = self.operator(connection)
            check_operator(operator, setting.database)
            gaps = operator_gaps(connection, operator, "")
        settle(setting.database, gaps, setting.report)
        digest = setting.population.digest if setting.population is not None else EMPTY
        name = template_name(digest, hardening.VERSION, operator.version, operator.superuser)
        with template.locked(self.admin, setting.report) as connection:
            comment = f"sandbox_sdk: template, {digest}"
            plan = template.Plan(name, setting.population, comment, closed=True)
            template.build(self.admin, connection, plan, operator, setting.report)
            with template.tried(self.admin, connection, name, operator) as inside:
                settle(setting.database, hardening.find_gaps(inside, own=True), setting.report)
                catalog = read_catalog(inside)
                rehearse(inside, setting.database, catalog)
        self._template, self._catalog = name, catalog

    def _put(self, name: str, password: str, access: Access, made: list[str]) -> None:
        with self.admin.maintaining() as connection:
            operator = self.operator(connection)
            there = template.exists(connection, name)
            put_role(
                connection,
                name,
                password,
                home=name,
                operator=operator,
                database=self.setting.database,
                access=access,
            )
            if not there:
                made.append(name)
                template.create_database(connection, name, self._template, operator)
            execute(connection, [template.close_to_everybody(name)])
        with self.admin.connected(name) as inside:
            self._grant(inside, name, access, fresh=not there)

    def _grant(self, inside: Connection, role: str, access: Access, *, fresh: bool) -> None:
        """Gives the role its rights in its copy, and takes what it had there before."""
        identifier = sql.Identifier(role)
        statements: list[sql.Composable] = [policies.SEARCH_PATH]
        owner = access.default == "owner"
        if not fresh:
            policies.drop_policies(inside, role)
            if not owner:
                take = sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(identifier)
                statements += [take, disown(role)]
        statements.append(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(role), identifier)
        )
        if owner:
            statements += ownership_statements(inside, role)
        else:
            catalog = self._catalog if fresh else None
            grants = resolve(access, catalog or read_catalog(inside))
            limited = policies.restricted(grants)
            statements += grant_statements(grants, role)
            statements += policies.prepare_tables(inside, limited)
            statements += [policies.policy(grant, role) for grant in limited]
        execute(inside, statements)

    def _remove(self, name: str) -> None:
        with self.admin.maintaining() as connection:
            try:
                template.drop_database(connection, name)
            except errors.ObjectInUse:
                end_prepared(self.admin, name)
                template.drop_database(connection, name)
            drop_role(self.admin, connection, name)

    def _remove_quietly(self, name: str) -> None:
        """Removes what a failed `create` made; its own error is the one to tell."""
        quietly(lambda: self._remove(name))


def quietly(work: Callable[[], None]) -> None:
    """Does what is tried after another error."""
    try:
        work()
    except (psycopg.Error, SandboxError):
        # `drop` follows when the sandbox ends, and removes it then.
        return
