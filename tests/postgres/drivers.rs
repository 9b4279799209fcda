//! A real driver through pgtally: tokio-postgres, with a password, statements it prepares by itself, and errors.

use support::TestProxy;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::{address, with_each, with_each_server};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn passwords_are_between_client_and_server() {
    with_each(
        |builder| builder.password("correct horse"),
        |server| {
            let proxy = TestProxy::to(&address(&server));
            let connect = async |password: &str| {
                let config =
                    format!("{} password='{password}'", proxy.connection_string("postgres", "postgres"));
                tokio_postgres::connect(&config, NoTls).await
            };
            runtime().block_on(async {
                let (client, connection) = connect("correct horse").await.unwrap();
                let connection = tokio::spawn(connection);
                let row = client.query_one("SELECT current_user::text", &[]).await.unwrap();
                assert_eq!(row.get::<_, String>(0), "postgres");
                drop(client);
                connection.await.unwrap().unwrap();
                let error = connect("battery staple").await.err().expect("a refusal");
                assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
            });
            let refused = "pgtally_auth_failures_total{reason=\"wrong_password\",side=\"upstream\"}";
            proxy.wait_for_metric(refused, 1.0);
        },
    );
}

#[test]
fn a_driver_works_as_without_us_and_its_statements_are_counted() {
    with_each_server(|server| {
        let proxy = TestProxy::to(&address(&server));
        runtime().block_on(async {
            let config = proxy.connection_string("postgres", "postgres");
            let (mut client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute("CREATE TABLE users (id int PRIMARY KEY, name text)").await.unwrap();
            let insert = client.prepare("INSERT INTO users VALUES ($1, $2)").await.unwrap();
            let transaction = client.transaction().await.unwrap();
            for id in 1..=3_i32 {
                transaction.execute(&insert, &[&id, &format!("user {id}")]).await.unwrap();
            }
            transaction.commit().await.unwrap();
            let error = client.execute(&insert, &[&1_i32, &"again"]).await.expect_err("a duplicate key");
            assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
            let rows = client.query("SELECT name FROM users WHERE id > $1", &[&1_i32]).await.unwrap();
            assert_eq!(rows.len(), 2);
            assert_eq!(fifty(&client).await, 50);
            drop(client);
            connection.await.unwrap().unwrap();
        });
        let requests = proxy.settled_requests(1);
        let queries: u64 = requests.iter().filter_map(|request| request["queries"].as_u64()).sum();
        assert_eq!(queries, 1 + 3 + 1 + 1 + 50, "{requests:?}");
        proxy.wait_for_sum("pgtally_query_errors_total", "sqlstate_class=\"23\"", 1.0);
    });
}

/// Fifty executions of one prepared statement; the rows they gave.
async fn fifty(client: &tokio_postgres::Client) -> usize {
    let statement = client.prepare("SELECT id FROM users WHERE id = $1").await.unwrap();
    let mut rows = 0;
    for _ in 0..50 {
        rows += client.query(&statement, &[&1_i32]).await.unwrap().len();
    }
    rows
}
