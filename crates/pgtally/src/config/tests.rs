use super::*;

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgtally.toml");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = flags.iter().map(|(path, value)| (*path, vec![(*value).to_owned()]));
    Config::load(Some(&path), environment, flags)
}

#[test]
fn nothing_written_gives_the_defaults() {
    let config = Config::load(None, [], []).unwrap();
    assert_eq!(config.upstreams[0].to_string(), DEFAULT_UPSTREAM);
    assert_eq!(config.listen[0].to_string(), DEFAULT_LISTEN);
    assert_eq!(config.admin.unwrap().to_string(), DEFAULT_ADMIN);
    assert!(config.is_analysis_on);
}

#[test]
fn flag_beats_environment_beats_file_beats_database_url() {
    let file = "[relay]\nupstream = 'file:1'\nconnect_timeout = '3s'\nworkers = 3\n";
    let variables = [("DATABASE_URL", "postgres://url:1"), ("PGTALLY__RELAY__WORKERS", "5")];
    let config = load(file, &variables, &[("relay.connect_timeout", "7s")]).unwrap();
    assert_eq!(config.upstreams[0].to_string(), "file:1");
    assert_eq!(config.workers, 5);
    assert_eq!(config.socket.connect_timeout, Duration::from_secs(7));
    let config = load("", &variables, &[]).unwrap();
    assert_eq!(config.upstreams[0].to_string(), "url:1");
}

#[test]
fn lists_come_as_arrays_or_with_commas() {
    let config = load("[relay]\nlisten = ['127.0.0.1:1', '/nowhere/x']\n", &[], &[]).unwrap();
    assert_eq!(config.listen.len(), 2);
    let config = load("", &[("PGTALLY__RELAY__LISTEN", "127.0.0.1:1, 127.0.0.1:2")], &[]).unwrap();
    assert_eq!(config.listen.len(), 2);
}

#[test]
fn all_errors_come_at_once_with_path_and_origin() {
    let file = "[relay]\nconnect_timeout = '10'\ncolour = 'red'\n[log]\nformat = 'xml'\n";
    let variables = [("PGTALLY__RELAY__WORKERS", "none"), ("PGTALLY__RELY__WORKERS", "1")];
    let errors = load(file, &variables, &[("admin.listen", "0.0.0.0:9187")]).unwrap_err();
    let mut paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "admin.listen",
        "log.format",
        "relay.colour",
        "relay.connect_timeout",
        "relay.workers",
        "rely.workers",
    ];
    assert_eq!(paths, expected);
    assert!(errors.to_string().contains("from PGTALLY__RELAY__WORKERS"), "{errors}");
}

#[test]
fn values_of_the_wrong_type_are_errors_and_not_absent() {
    for file in ["[relay]\nlisten = [['127.0.0.1:1']]\n", "[[relay.listen]]\nport = 1\n"] {
        let errors = load(file, &[], &[]).expect_err(file);
        assert_eq!(errors.0[0].path, "relay.listen", "{errors}");
    }
}

#[test]
fn a_proxy_is_not_its_own_upstream() {
    let errors = load("", &[], &[("relay.listen", "127.0.0.1:5432")]).unwrap_err();
    assert_eq!(errors.0[0].path, "relay.upstream", "{errors}");
}

#[test]
fn an_admin_listener_for_others_needs_a_token() {
    let open = [("admin.listen", "0.0.0.0:9187"), ("admin.token", "0123456789abcdef")];
    assert!(load("", &[], &open).is_ok());
    assert!(load("", &[], &open[..1]).is_err());
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_an_error() {
    assert!(Config::load(Some(Path::new("/nowhere/pgtally.toml")), [], []).is_err());
    assert!(load("[relay", &[], &[]).is_err());
}

#[test]
fn every_setting_is_shown_with_its_origin_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let variables = [
        ("PGTALLY__RELAY__UPSTREAM", "postgres://ann:hunter2@db/shop"),
        ("PGTALLY__PROBE__PASSWORD_FILE", secret.to_str().unwrap()),
    ];
    let flags = [("admin.token", "hunter2hunter2hunter2"), ("probe.user", "watcher")];
    let config = load("[relay]\nworkers = 3\n", &variables, &flags).unwrap();
    assert_eq!(config.probe.as_ref().unwrap().password.as_ref().unwrap().reveal(), "hunter2");
    let shown: Vec<_> = config.effective().iter().map(ToString::to_string).collect();
    let shown = shown.join("\n");
    assert!(shown.contains("admin.token = \"***\"  # the command line"), "{shown}");
    assert!(shown.contains("relay.upstream = \"postgres://ann:***@db/shop\"  # PGTALLY__RELAY__UPSTREAM"));
    assert!(shown.contains("relay.workers = \"3\"  # /"), "{shown}");
    assert!(shown.contains("relay.keepalive = \"60s\"  # default"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

#[test]
fn a_secret_has_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "0123456789abcdef").unwrap();
    let flags = [("admin.token", "0123456789abcdef"), ("admin.token_file", file.to_str().unwrap())];
    assert!(load("", &[], &flags[1..]).is_ok());
    assert_eq!(load("", &[], &flags).unwrap_err().0[0].path, "admin.token_file");
    assert!(load("", &[], &[("admin.token_file", "/nowhere/token")]).is_err());
}

#[test]
fn a_reload_takes_what_it_can_and_names_the_rest() {
    let old = load("[relay]\nworkers = 3\n", &[], &[]).unwrap();
    let new = load("[relay]\nworkers = 4\n[findings]\nduplicate_repeats = 9\n", &[], &[]).unwrap();
    let (merged, reloaded) = old.merged_with(new.clone()).unwrap();
    assert_eq!(merged.workers, 3);
    assert_eq!(merged.findings.duplicate_repeats_min, 9);
    assert_eq!(reloaded.changed, ["findings.duplicate_repeats"]);
    assert_eq!(reloaded.restart_needed, ["relay.workers"]);
    let (_, again) = merged.merged_with(new).unwrap();
    assert_eq!(again.changed, Vec::<String>::new());
    assert_eq!(again.restart_needed, ["relay.workers"], "it still differs from what runs");
}

#[test]
fn settings_that_come_and_go_are_changes() {
    let plain = load("", &[], &[]).unwrap();
    let route = load("[findings.routes.'/a']\nslow_statement = '2s'\n", &[], &[]).unwrap();
    let (merged, reloaded) = plain.merged_with(route).unwrap();
    assert_eq!(reloaded.changed, ["findings.routes./a.slow_statement"]);
    let (merged, reloaded) = merged.merged_with(plain).unwrap();
    assert_eq!(reloaded.changed, ["findings.routes./a.slow_statement"]);
    assert!(merged.findings.routes.is_empty());
}

#[test]
fn what_is_no_toml_is_told_without_the_secret_in_it() {
    let errors = load("[admin]\ntoken = 'hunter2hunter2hunter2\n", &[], &[]).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    assert!(errors.to_string().contains("line 2"), "{errors}");
}

#[test]
fn a_reload_cannot_take_the_token_from_an_open_listener() {
    let open = [("admin.listen", "0.0.0.0:9187"), ("admin.token", "0123456789abcdef")];
    let old = load("", &[], &open).unwrap();
    let new = load("", &[], &[]).unwrap();
    assert_eq!(old.merged_with(new).unwrap_err().0[0].path, "admin.listen");
}

#[test]
fn a_url_may_name_several_servers_and_what_is_wanted_of_them() {
    let variables = [("DATABASE_URL", "postgres://a:1,b:2/shop?target_session_attrs=standby")];
    let config = load("[probe]\nuser = 'watcher'\n", &variables, &[]).unwrap();
    assert_eq!(config.upstreams.len(), 2);
    assert_eq!(config.session_attrs, SessionAttrs::Standby);
    let file = "[probe]\nuser = 'watcher'\n[relay]\nupstream = ['a:1', 'b:2,c:3']\n";
    assert_eq!(load(file, &[], &[]).unwrap().upstreams.len(), 3);
    let flag = [("relay.target_session_attrs", "any")];
    assert_eq!(load("", &variables, &flag).unwrap().session_attrs, SessionAttrs::Any, "a flag is stronger");
}

#[test]
fn attributes_of_servers_need_somebody_to_ask_them() {
    let wanted = ("relay.target_session_attrs", "read-write");
    assert!(load("", &[], &[wanted]).is_err());
    assert!(load("", &[], &[wanted, ("probe.user", "watcher")]).is_ok());
}

#[test]
fn plans_need_an_account() {
    let errors = load("[inspect]\nexplain = 'on'\n", &[], &[]).unwrap_err();
    assert_eq!(errors.0.iter().map(|error| &*error.path).collect::<Vec<_>>(), ["inspect.explain"]);
    assert!(load("[inspect]\nexplain = 'on'\nuser = 'reader'\n", &[], &[]).unwrap().explains);
}
