-- A small shop. Understood by PostgreSQL and by SQLite.
CREATE TABLE customers (
    id integer PRIMARY KEY,
    name varchar(80) NOT NULL,
    city varchar(80) NOT NULL,
    email varchar(120) NOT NULL UNIQUE,
    card varchar(19) NOT NULL
);

CREATE TABLE products (
    id integer PRIMARY KEY,
    name varchar(80) NOT NULL,
    price numeric(8, 2) NOT NULL CHECK (price >= 0),
    cost numeric(8, 2) NOT NULL CHECK (cost >= 0),
    stock integer NOT NULL CHECK (stock >= 0)
);

CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers (id),
    product_id integer NOT NULL REFERENCES products (id),
    quantity integer NOT NULL CHECK (quantity > 0),
    ordered_on date NOT NULL,
    status varchar(20) NOT NULL CHECK (status IN ('open', 'paid', 'shipped'))
);

CREATE INDEX orders_of_customer ON orders (customer_id);
