//! PostgreSQL's own replication programs through pgtally: base backup, WAL stream, logical decoding.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use pgtally::Address;
use pgtally_throwaway::Throwaway;
use support::{TestProxy, wait_for};

use crate::{address, session, with_each};

fn program(server: &Throwaway, name: &str, proxy: &TestProxy) -> Command {
    let Address::Tcp(host, port) = proxy.address() else { panic!("a TCP listener") };
    let path = server.binary(name).unwrap_or_else(|| PathBuf::from(name));
    let mut command = Command::new(path);
    command.args(["-h", host, "-p", &port.to_string(), "-U", "postgres"]).env_remove("PGSSLMODE");
    command
}

fn check(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn with_logical_servers(test: impl Fn(Throwaway)) {
    with_each(|builder| builder.setting("wal_level", "logical").setting("max_wal_senders", "8"), test);
}

#[test]
fn a_base_backup_with_its_wal_passes() {
    with_logical_servers(|server| {
        let proxy = TestProxy::to(&address(&server));
        let directory = tempfile::tempdir().unwrap();
        let backup = directory.path().join("backup");
        let output = program(&server, "pg_basebackup", &proxy)
            .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync", "-D"])
            .arg(&backup)
            .output()
            .unwrap();
        check(&output);
        assert!(backup.join("PG_VERSION").exists());
        // The backup carries checksums of its files: nothing was changed on the way.
        if let Some(verify) = server.binary("pg_verifybackup") {
            check(&Command::new(verify).arg("--no-parse-wal").arg(&backup).output().unwrap());
        }
        assert!(proxy.metric("pgtally_sessions_blind_total{reason=\"replication\"}") > 0.5);
    });
}

#[test]
fn wal_streams_through() {
    with_logical_servers(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let directory = tempfile::tempdir().unwrap();
        let mut receiving = program(&server, "pg_receivewal", &proxy)
            .arg("--no-sync")
            .arg("--no-loop")
            .arg("-D")
            .arg(directory.path())
            .spawn()
            .unwrap();
        let (mut client, _) = session(&direct);
        wait_for("a finished segment", || {
            client.query("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()");
            std::thread::sleep(Duration::from_millis(50));
            let files = std::fs::read_dir(directory.path()).unwrap();
            let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
            names.into_iter().any(|name| name.len() == 24).then_some(())
        });
        receiving.kill().unwrap();
        receiving.wait().unwrap();
    });
}

#[test]
fn logical_changes_stream_through() {
    with_logical_servers(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (mut client, _) = session(&direct);
        client.query("CREATE TABLE t (id int)");
        let start = |action: &str| {
            let mut command = program(&server, "pg_recvlogical", &proxy);
            command.args(["-d", "postgres", "--slot", "s", action]);
            command
        };
        check(&start("--create-slot").arg("--plugin=test_decoding").output().unwrap());
        // Throwaway servers let commits wait, and what waits is not decoded yet.
        client.query("SET synchronous_commit = on");
        client.query("INSERT INTO t VALUES (4711)");
        let mark = client.query("SELECT pg_current_wal_lsn()");
        let mark = mark.iter().find(|frame| frame.tag == b'D').expect("a position");
        let mark = String::from_utf8(mark.body[6..].to_vec()).unwrap();
        let output = start("--start").args(["-f", "-", "--no-loop", "--endpos", &mark]).output().unwrap();
        check(&output);
        let changes = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(changes.contains("4711"), "{changes}");
        check(&start("--drop-slot").output().unwrap());
    });
}
