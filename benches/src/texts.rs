//! Statements as frameworks write them: the input of the lexer's benches.

/// A name and the text.
pub type NamedText = (&'static str, String);

/// The statements measured: short, long, nested, lists, comments.
#[must_use]
pub fn statements() -> Vec<NamedText> {
    vec![
        ("begin", "BEGIN".to_owned()),
        ("rails-primary-key", RAILS.to_owned()),
        ("django-filter", DJANGO.to_owned()),
        ("sqlalchemy-joins-in-8", SQLALCHEMY.to_owned()),
        ("hibernate-insert", HIBERNATE.to_owned()),
        ("cte-upsert-tagged", UPSERT.to_owned()),
        (
            "in-1000",
            format!("SELECT id, name FROM users WHERE id IN ({})", list(|id| format!("{}", 1000 + id))),
        ),
        (
            "insert-1000-rows",
            format!("INSERT INTO users (id, name) VALUES {}", list(|id| format!("({id}, 'user {id}')"))),
        ),
    ]
}

fn list(element: impl Fn(u32) -> String) -> String {
    (0..1000).map(element).collect::<Vec<_>>().join(", ")
}

const RAILS: &str = r#"SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT $2"#;

const DJANGO: &str = r#"SELECT "shop_order"."id", "shop_order"."customer_id", "shop_order"."placed_at", "shop_order"."state", "shop_order"."total" FROM "shop_order" INNER JOIN "shop_customer" ON ("shop_order"."customer_id" = "shop_customer"."id") WHERE ("shop_customer"."city" = 'Berlin' AND "shop_order"."state" = 2) ORDER BY "shop_order"."placed_at" DESC LIMIT 21"#;

const SQLALCHEMY: &str = "SELECT orders.id AS orders_id, orders.placed_at AS orders_placed_at, orders.state AS orders_state, customers_1.id AS customers_1_id, customers_1.name AS customers_1_name, customers_1.city AS customers_1_city, items_1.id AS items_1_id, items_1.order_id AS items_1_order_id, items_1.product_id AS items_1_product_id, items_1.quantity AS items_1_quantity \nFROM orders LEFT OUTER JOIN customers AS customers_1 ON customers_1.id = orders.customer_id LEFT OUTER JOIN items AS items_1 ON orders.id = items_1.order_id \nWHERE orders.id IN (1, 2, 3, 5, 8, 13, 21, 34) ORDER BY orders.id";

const HIBERNATE: &str = "insert into purchase_order (customer_id, placed_at, state, total, version, id) values (?, ?, ?, ?, ?, ?) returning id, version";

const UPSERT: &str = "WITH moved AS (DELETE FROM inbox WHERE id = ANY($1) RETURNING account_id, amount) INSERT INTO balance AS b (account_id, amount) SELECT account_id, sum(amount) FROM moved GROUP BY account_id ON CONFLICT (account_id) DO UPDATE SET amount = b.amount + excluded.amount RETURNING b.account_id, b.amount /*controller='balances',action='settle',framework='rails%3A7.1',route='%2Fbalances%2Fsettle',traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/";
