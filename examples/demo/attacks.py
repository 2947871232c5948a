"""What a reader tries in order to see or change more, and the words of the engine that refuses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """One statement, what it is after, and a part of the engine's own answer."""

    after: str
    query: str
    words: str


ATTACKS: dict[str, tuple[Attack, ...]] = {
    "postgres": (
        Attack(
            "end the transaction it runs in, and drop a table",
            "COMMIT; DROP TABLE customers",
            "cannot insert multiple commands into a prepared statement",
        ),
        Attack(
            "make its transaction one that writes",
            "SET TRANSACTION READ WRITE",
            "transaction read-write mode must be set before any query",
        ),
        Attack("become the operator", "SET ROLE admin", 'permission denied to set role "admin"'),
        Attack(
            "read a file of the server",
            "SELECT pg_read_file('/etc/passwd')",
            "permission denied for function pg_read_file",
        ),
        Attack(
            "see a column that is not shown",
            "SELECT card FROM customers",
            "permission denied for table customers",
        ),
        Attack(
            "sort by it instead",
            "SELECT id FROM products ORDER BY cost",
            "permission denied for table products",
        ),
        Attack(
            "delete inside of a query",
            "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
            "cannot execute SELECT in a read-only transaction",
        ),
    ),
    "sqlite": (
        Attack(
            "end the transaction it runs in, and drop a table",
            "COMMIT; DROP TABLE customers",
            "not authorized: COMMIT is not a statement here",
        ),
        Attack("lift the protection", "PRAGMA query_only = 0", "not authorized"),
        Attack(
            "write through a second door", "ATTACH 'file:shop.db?mode=rw' AS door", "not authorized"
        ),
        Attack(
            "see a column that is not shown",
            "SELECT card FROM customers",
            "access to customers.card is prohibited",
        ),
        Attack(
            "sort by it instead",
            "SELECT id FROM products ORDER BY cost",
            "access to products.cost is prohibited",
        ),
        Attack(
            "delete inside of a query",
            "WITH kept AS (SELECT 1) DELETE FROM orders",
            "not authorized",
        ),
    ),
}

# Not about rights: these would leave the one statement that a call is, whoever sends them.
OUT_OF_PLACE: dict[str, tuple[Attack, ...]] = {
    "postgres": (
        Attack("go back to a role it never had", "RESET ROLE", "RESET is not possible here"),
        Attack(
            "run a program on the server",
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "COPY is not possible here",
        ),
    ),
    "sqlite": (),
}
