//! Rewrites are SQL that PostgreSQL accepts: every statement that a finding offers is prepared on the server.

use support::{Peer, TestProxy, wait_for};

use crate::{address, session, with_each_server};

const SCHEMA: &str = "
    CREATE TABLE authors (id int PRIMARY KEY, name text, born date);
    CREATE TABLE posts (id int PRIMARY KEY, author_id int, title text, body text, seen bool DEFAULT false);
    CREATE TABLE likes (id int PRIMARY KEY, post_id int, amount int);
    CREATE TABLE \"Order\" (id int PRIMARY KEY, \"customerId\" int, state text);
    CREATE TABLE events (id serial PRIMARY KEY, kind text, size int UNIQUE);
    INSERT INTO authors SELECT n, 'a' || n, now() FROM generate_series(2001, 2020) n;
    INSERT INTO posts SELECT n, n + 1000, 't', 'b' FROM generate_series(1001, 1020) n;
    INSERT INTO likes SELECT n, 1001 + n % 20, n FROM generate_series(1, 200) n;
    INSERT INTO \"Order\" SELECT n, n + 1000, 'open' FROM generate_series(1001, 1020) n;
";

/// Parents, and statements repeated per row; `@` is the key. The last of each shape is a habit of some ORM.
const LOOPS: [(&str, &str); 22] = [
    (POSTS, "SELECT id, name FROM authors WHERE id = @"),
    (POSTS, "SELECT name FROM authors WHERE @ = id"),
    (POSTS, "SELECT a.name FROM authors a JOIN posts p ON p.author_id = a.id WHERE a.id = @ ORDER BY p.id"),
    (
        POSTS,
        "SELECT \"authors\".\"id\", \"authors\".\"name\" FROM \"authors\" WHERE \"authors\".\"id\" = @ LIMIT 21",
    ),
    (POSTS, "SELECT \"authors\".* FROM \"authors\" WHERE \"authors\".\"id\" = @ LIMIT 1"),
    (
        POSTS,
        "SELECT authors.id AS authors_id, authors.name AS authors_name FROM authors WHERE authors.id = @",
    ),
    (
        POSTS,
        "SELECT public.authors.id FROM public.authors WHERE (public.authors.id = @ AND 1=1) LIMIT 1 OFFSET 0",
    ),
    (POSTS, "select a1_0.id,a1_0.name from authors a1_0 where a1_0.id=@ fetch first 1 rows only"),
    (
        POSTS,
        "select * from authors where authors.id = @ and authors.born is not null order by authors.id limit 1",
    ),
    (POSTS, "SELECT DISTINCT name FROM authors WHERE id = @"),
    (POSTS, "SELECT upper(name) || '!' AS loud FROM authors WHERE id IN (@)"),
    (
        POSTS,
        "SELECT name FROM authors WHERE id = @ AND (born > '2000-01-01' AND name <> 'x') ORDER BY name DESC",
    ),
    (LIKED, "SELECT count(*) FROM likes WHERE post_id = @"),
    (LIKED, "SELECT COUNT(*) AS \"__count\" FROM \"likes\" WHERE \"likes\".\"post_id\" = @"),
    (LIKED, "SELECT amount % 2, sum(amount) FROM likes WHERE post_id = @ GROUP BY amount % 2"),
    (LIKED, "SELECT max(amount) FROM likes WHERE post_id = @ HAVING count(*) > 0"),
    (LIKED, "SELECT sum(amount) AS s FROM likes WHERE post_id = @ AND amount > 0"),
    (LIKED, "UPDATE posts SET seen = true WHERE id = @"),
    (LIKED, "UPDATE posts SET seen = false, title = upper(title) WHERE posts.id = @"),
    (LIKED, "DELETE FROM likes WHERE likes.post_id = @ AND amount = 7"),
    (ORDERS, "SELECT \"customerId\", state FROM \"Order\" WHERE \"Order\".\"customerId\" = @"),
    (LIKED, "INSERT INTO events (kind, size) VALUES ('k', @) ON CONFLICT (size) DO UPDATE SET kind = 'x'"),
];
const POSTS: &str = "SELECT id, author_id FROM posts ORDER BY id LIMIT 15";
const LIKED: &str = "SELECT id, title FROM posts ORDER BY id LIMIT 15";
const ORDERS: &str = "SELECT id, \"customerId\" FROM \"Order\" ORDER BY id LIMIT 15";

/// Statements without a rewrite: their reason stands beside `rewrite.rs`.
const WITHOUT: usize = 1;

fn run(client: &mut Peer, number: usize, parent: &str, child: &str) {
    let tag = format!(" /*route='/{number}',traceparent='00-{:032x}-b7ad6b7169203331-01'*/", number + 1);
    let accepted = |client: &mut Peer, text: &str| {
        let frames = client.query(&format!("{text}{tag}"));
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{text}: {frames:?}");
    };
    accepted(client, parent);
    // Authors and customers are numbered from 2001, posts from 1001.
    let first = if parent == LIKED { 1_001 } else { 2_001 };
    for key in first..first + 15 {
        accepted(client, &child.replace('@', &key.to_string()));
    }
}

#[test]
fn every_rewrite_can_be_prepared() {
    with_each_server(|server| {
        let (mut direct, _) = session(&address(&server));
        assert!(direct.query(SCHEMA).iter().all(|frame| frame.tag != b'E'));
        let proxy = TestProxy::to(&address(&server));
        let (mut client, _) = session(proxy.address());
        for (number, (parent, child)) in LOOPS.iter().enumerate() {
            run(&mut client, number, parent, child);
        }
        let is_loop = |finding: &serde_json::Value| {
            finding["kind"].as_str().is_some_and(|kind| kind.starts_with("n_plus_one"))
        };
        let findings = wait_for("a finding for each loop", || {
            let found: Vec<_> = proxy.findings().into_iter().filter(is_loop).collect();
            (found.len() >= LOOPS.len()).then_some(found)
        });
        let mut without = Vec::new();
        for finding in &findings {
            let Some(rewrite) = finding["rewrite"].as_str() else {
                without.push(finding["statement"].clone());
                continue;
            };
            let frames = direct.query(&format!("PREPARE rewritten AS {rewrite}"));
            assert!(frames.iter().all(|frame| frame.tag != b'E'), "{rewrite}: {frames:?}");
            let _ = direct.query("DEALLOCATE rewritten");
        }
        assert_eq!(findings.len(), LOOPS.len());
        assert!(without.len() <= WITHOUT, "{without:?}");
    });
}
