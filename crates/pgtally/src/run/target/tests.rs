//! Environments as programs have them, before and behind the proxy.

use super::*;

fn proxy() -> Place {
    Place {
        host: "127.0.0.1".into(),
        port: 7000,
        sslmode: "disable".into(),
        admin_url: None,
        system_user: "ann".into(),
    }
}

fn target(variables: &[(&str, &str)]) -> Target {
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Target::read(&variable, None)
}

fn given(target: &Target, name: &str) -> Option<String> {
    let variables = target.environment(&proxy());
    variables.into_iter().find(|(known, _)| known == name).and_then(|(_, value)| value)
}

#[test]
fn urls_of_all_frameworks_lead_through_the_proxy() {
    for (url, upstream, through) in [
        (
            "postgres://ann:s%40cret@db:5433/shop",
            "postgres://db:5433/?sslmode=prefer",
            "postgres://ann:s%40cret@127.0.0.1:7000/shop",
        ),
        (
            "postgresql+psycopg://ann@db/shop?application_name=web&sslmode=require",
            "postgres://db/?sslmode=require",
            "postgresql+psycopg://ann@127.0.0.1:7000/shop?application_name=web&sslmode=disable",
        ),
        (
            "postgis://a,b:5434/shop?target_session_attrs=read-write",
            "postgres://a,b:5434/?target_session_attrs=read-write&sslmode=prefer",
            "postgis://127.0.0.1:7000/shop?target_session_attrs=read-write",
        ),
        (
            "jdbc:postgresql://db:5433/shop?user=ann&password=secret&ssl=true",
            "postgres://db:5433/?sslmode=require",
            "jdbc:postgresql://127.0.0.1:7000/shop?user=ann&password=secret&sslmode=disable",
        ),
        ("jdbc:postgresql:shop", "postgres:///?sslmode=prefer", "jdbc:postgresql://127.0.0.1:7000/shop"),
        (
            "postgresql:///shop?host=/run/postgresql&port=5433",
            "postgres:///?host=/run/postgresql&port=5433&sslmode=prefer",
            "postgresql://127.0.0.1:7000/shop",
        ),
        ("postgres://[::1]:5433", "postgres://[::1]:5433/?sslmode=prefer", "postgres://127.0.0.1:7000/"),
    ] {
        let target = target(&[("DATABASE_URL", url)]);
        assert_eq!(target.upstream.as_deref(), Some(upstream), "{url}");
        crate::config::parse_upstreams(upstream).unwrap();
        assert_eq!(given(&target, "DATABASE_URL").as_deref(), Some(through), "{url}");
    }
}

#[test]
fn accounts_are_passed_on() {
    let by_url = target(&[("DATABASE_URL", "jdbc:postgresql://db/shop?user=ann&password=p%20w")]);
    assert_eq!(given(&by_url, "PGUSER").as_deref(), Some("ann"));
    assert_eq!(given(&by_url, "PGPASSWORD").as_deref(), Some("p w"));
    let by_libpq = target(&[("PGHOST", "/run/postgresql"), ("PGUSER", "b b"), ("PGPASSWORD", "x/y")]);
    assert_eq!(
        given(&by_libpq, "DATABASE_URL").as_deref(),
        Some("postgres://b%20b:x%2Fy@127.0.0.1:7000/b%20b")
    );
    assert_eq!(by_libpq.upstream.as_deref(), Some("postgres:///?host=%2Frun%2Fpostgresql&sslmode=prefer"));
    let nothing = target(&[]);
    assert_eq!((nothing.upstream.as_deref(), given(&nothing, "PGPASSWORD")), (None, None));
    assert_eq!(given(&nothing, "DATABASE_URL").as_deref(), Some("postgres://ann@127.0.0.1:7000/ann"));
    let flagged = Target::read(&|_| None, Some("postgres://cid:pw@db/shop"));
    assert_eq!(given(&flagged, "DATABASE_URL").as_deref(), Some("postgres://cid:pw@127.0.0.1:7000/shop"));
}

#[test]
fn nothing_leads_past_the_proxy() {
    let target = target(&[
        ("PGHOSTADDR", "10.0.0.1"),
        ("PGSSLMODE", "verify-full"),
        ("SPRING_DATASOURCE_URL", "jdbc:postgresql://other/app"),
        ("POSTGRES_URL", "mysql://other/app"),
    ]);
    let variables = target.environment(&proxy());
    assert!(variables.contains(&("PGHOSTADDR".into(), None)));
    assert_eq!(given(&target, "PGSSLMODE").as_deref(), Some("disable"));
    assert_eq!(
        given(&target, "SPRING_DATASOURCE_URL").as_deref(),
        Some("jdbc:postgresql://127.0.0.1:7000/app")
    );
    assert_eq!(given(&target, "POSTGRES_URL"), None);
    assert_eq!(target.upstream.as_deref(), Some("postgres://other/?sslmode=verify-full"));
}

#[test]
fn a_url_of_another_database_is_told() {
    let target = target(&[("DATABASE_URL", "sqlite:///db.sqlite3")]);
    assert!(target.problem.is_some() && target.upstream.is_none());
    for text in ["", ":", "postgres", "postgresql:shop", "mysql://x", "jdbc:", "é://"] {
        assert_eq!(DatabaseUrl::parse(text), None, "{text}");
    }
}

#[test]
fn templates_are_filled_in() {
    let target = target(&[("DATABASE_URL", "postgres://ann:pw@db/shop")]);
    let check = |template: &str, expected: &str| {
        assert_eq!(target.fill(template, &proxy()).as_deref(), Ok(expected), "{template}");
    };
    check("{host}:{port}", "127.0.0.1:7000");
    check(
        "{jdbc_url}?user={user}&password={password}",
        "jdbc:postgresql://127.0.0.1:7000/shop?user=ann&password=pw",
    );
    check("{{{database}}}", "{shop}");
    check("{url}", "postgres://ann:pw@127.0.0.1:7000/shop");
    check("plain é", "plain é");
    for wrong in ["{hots}", "{", "}", "a}b", "{host"] {
        target.fill(wrong, &proxy()).expect_err(wrong);
    }
}
