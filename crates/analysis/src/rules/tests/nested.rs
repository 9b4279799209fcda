//! Loops whose parents are the rows of other look-ups, and units of work that look like loops.

use super::{AUTHOR, check, check_with, silent};
use crate::settings::FindingSettings;
use crate::testing::Script;

const COUNTRY: &str = "SELECT code FROM countries WHERE id = $1";
const AUTHOR_ROW: &str = "SELECT id, country_id FROM authors WHERE id = $1";
const AUTHOR_COLUMNS: [&str; 2] = ["authors.id", "authors.country_id"];

#[test]
fn the_rows_of_look_ups_are_parents_of_the_loop_inside() {
    let mut script = Script::new();
    script.rows("SELECT id, author_id FROM posts", &["posts.id", "posts.author_id"], {
        (1..=6).map(|n| vec![n, 30 + n]).collect()
    });
    for n in 1..=6 {
        script.look_up(AUTHOR_ROW, 30 + n, &AUTHOR_COLUMNS, &[30 + n, 60 + n]);
        script.keyed(COUNTRY, 60 + n);
    }
    let loops =
        ["n_plus_one high warning 6/6 posts.author_id", "n_plus_one high warning 6/6 authors.country_id"];
    let mut found =
        script.evaluate(&FindingSettings::default()).iter().map(super::describe).collect::<Vec<_>>();
    found.sort();
    assert_eq!(found, [loops[1], loops[0]]);
}

#[test]
fn parents_with_one_child_and_with_several_are_read_together() {
    let mut script = Script::new();
    script.rows("SELECT id FROM authors", &["authors.id"], (1..=6).map(|n| vec![n]).collect());
    let text = "SELECT id FROM posts WHERE author_id = $1";
    for author in 1..=6 {
        let mut posts = vec![10 * author];
        if author % 2 == 0 {
            script.look_up(text, author, &["posts.id"], &posts);
        } else {
            posts.push(10 * author + 1);
            let rows = posts.iter().map(|id| vec![*id]).collect();
            script.keyed_rows(text, author, &["posts.id"], rows);
        }
        for post in posts {
            script.keyed("SELECT body FROM comments WHERE post_id = $1", post);
        }
    }
    check(&script, &["n_plus_one high warning 9/9 posts.id", "n_plus_one high warning 6/6 authors.id"]);
}

#[test]
fn a_walk_up_a_tree_is_its_own_parent() {
    let mut script = Script::new();
    let text = "SELECT id, parent_id FROM nodes WHERE id = $1";
    for node in (1..=7).rev() {
        script.look_up(text, node, &["nodes.id", "nodes.parent_id"], &[node, node - 1]);
    }
    check(&script, &["n_plus_one high warning 7/7 nodes.parent_id"]);
}

#[test]
fn look_ups_of_what_nobody_read_prove_nothing() {
    let mut script = Script::new();
    for n in 1..=4 {
        script.look_up(AUTHOR_ROW, 200 + n, &AUTHOR_COLUMNS, &[200 + n, n]);
        script.keyed(COUNTRY, 500 + n);
    }
    silent(&script);
}

#[test]
fn work_claimed_from_a_queue_is_no_loop() {
    let mut script = Script::new();
    for n in 1..=12_u32 {
        script.transaction(n, false);
        script
            .read("SELECT id FROM jobs WHERE state = $1 LIMIT 1 FOR UPDATE SKIP LOCKED")
            .cells(&[i64::from(n)]);
        script.keyed(AUTHOR, i64::from(n));
        script.keyed("UPDATE jobs SET state = $1 WHERE id = $2", i64::from(n));
    }
    silent(&script);
}

#[test]
fn a_loop_inside_claimed_work_stays_one() {
    let mut script = Script::new();
    script.transaction(1, false);
    script.read("SELECT id FROM jobs WHERE state = $1 LIMIT 1 FOR UPDATE SKIP LOCKED").cells(&[9]);
    script.rows("SELECT id FROM authors", &["authors.id"], (1..=6).map(|n| vec![n]).collect());
    for n in 1..=6 {
        script.keyed(AUTHOR, n);
    }
    check_with(&script, &FindingSettings::default(), &["n_plus_one high warning 6/6 authors.id"]);
}
