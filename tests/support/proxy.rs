//! A proxy in the test's own process, on free ports, and its admin listener seen from outside.

use std::path::Path;
use std::time::Duration;

use pgtally::{Address, Config, Proxy, Running};
use serde_json::Value;

use crate::{DEADLINE, try_wait_for, wait_for};

/// A running proxy with its admin listener.
pub struct TestProxy {
    running: Option<Running>,
    address: Address,
    admin: String,
}

impl TestProxy {
    /// A proxy in front of `upstream`, with two workers.
    #[must_use]
    pub fn to(upstream: &Address) -> Self {
        Self::with(upstream, &[])
    }

    /// As [`TestProxy::to`], with more settings as `("section.key", "value")`.
    #[must_use]
    pub fn with(upstream: &Address, settings: &[(&'static str, &str)]) -> Self {
        Self::altered(upstream, settings, |_| {})
    }

    /// As [`TestProxy::with`], with what no setting says.
    #[must_use]
    pub fn altered(
        upstream: &Address,
        settings: &[(&'static str, &str)],
        alter: impl FnOnce(&mut Config),
    ) -> Self {
        let mut flags = vec![
            ("relay.upstream", vec![upstream.to_string()]),
            ("admin.listen", vec!["127.0.0.1:0".to_owned()]),
        ];
        let defaults = [("relay.listen", "127.0.0.1:0"), ("relay.workers", "2")];
        let is_set = |name: &str| settings.iter().any(|(setting, _)| *setting == name);
        for (name, value) in
            defaults.into_iter().filter(|(name, _)| !is_set(name)).chain(settings.iter().copied())
        {
            flags.push((name, vec![value.to_owned()]));
        }
        let mut config = Config::load(None, [], flags).expect("a usable configuration");
        alter(&mut config);
        Self::of(&config)
    }

    /// A proxy whose settings stand in the file at `path`, on free ports.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let ports = ["relay.listen", "admin.listen"].map(|name| (name, vec!["127.0.0.1:0".to_owned()]));
        Self::of(&Config::load(Some(path), [], ports).expect("a usable configuration"))
    }

    fn of(config: &Config) -> Self {
        let running = Proxy::start(config).expect("a running proxy");
        let address = running.listen_addrs().first().expect("a listener").clone();
        let admin = running.admin_addr().expect("an admin listener").to_string();
        Self { running: Some(running), address, admin }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connection string of tokio-postgres for `database` as `user`.
    #[must_use]
    pub fn connection_string(&self, user: &str, database: &str) -> String {
        match &self.address {
            Address::Tcp(host, port) => format!("host={host} port={port} user={user} dbname={database}"),
            Address::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// Connection URL of `database` as `postgres`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match &self.address {
            Address::Tcp(host, port) => format!("postgres://postgres@{host}:{port}/{database}"),
            Address::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// Status and body of an admin request.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        self.request_with_headers(method, path, &[])
    }

    /// As [`TestProxy::request`], with headers.
    #[must_use]
    pub fn request_with_headers(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        let agent: ureq::Agent = config.timeout_global(Some(DEADLINE)).build().into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer =
            agent.run(request.body(()).expect("a request")).expect("an answer of the admin listener");
        let body =
            answer.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string().expect("its body");
        (answer.status().as_u16(), body)
    }

    /// Status and body of the answer to a `POST` of JSON.
    #[must_use]
    pub fn post(&self, path: &str, json: &str) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
        let agent: ureq::Agent = config.build().into();
        let request = agent.post(format!("http://{}{path}", self.admin)).content_type("application/json");
        let mut answer = request.send(json).expect("an answer of the admin listener");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("its body"))
    }

    /// Status and body of what a form's `POST` leads to.
    #[must_use]
    pub fn post_form(&self, path: &str, form: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
        let agent: ureq::Agent = config.build().into();
        let mut request = agent.post(format!("http://{}{path}", self.admin));
        for (name, value) in [("Content-Type", "application/x-www-form-urlencoded")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(form).expect("an answer of the admin listener");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("its body"))
    }

    /// The body of `GET path` while it comes.
    #[must_use]
    pub fn stream(&self, path: &str) -> ureq::BodyReader<'static> {
        self.try_stream(path).expect("a stream")
    }

    /// As [`TestProxy::stream`]; an answer that is no success is an error.
    ///
    /// # Errors
    /// What the admin listener has against it.
    pub fn try_stream(&self, path: &str) -> Result<ureq::BodyReader<'static>, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).build().into();
        let answer = agent.get(format!("http://{}{path}", self.admin)).call()?;
        Ok(answer.into_body().into_reader())
    }

    /// Where the admin listener is: `http://127.0.0.1:9187`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Where the admin listener listens.
    ///
    /// # Panics
    /// Never: it was bound.
    #[must_use]
    pub fn admin_address(&self) -> Address {
        let (host, port) = self.admin.rsplit_once(':').expect("host and port");
        Address::Tcp(host.to_owned(), port.parse().expect("a port"))
    }

    /// JSON of `GET path`.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// All findings.
    #[must_use]
    pub fn findings(&self) -> Vec<Value> {
        list(&self.json("/api/v1/findings"), "findings")
    }

    /// All requests, open ones too.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        list(&self.json("/api/v1/requests?limit=1000"), "requests")
    }

    /// Waits until `count` requests are known and none is open.
    #[must_use]
    pub fn settled_requests(&self, count: usize) -> Vec<Value> {
        let is_open = |request: &Value| request["open"].as_bool() != Some(false);
        wait_for("requests to settle", || {
            let requests = self.requests();
            (requests.len() >= count && !requests.iter().any(is_open)).then_some(requests)
        })
    }

    /// Value of the series that begins with `series` and a space, such as `name{label="x"}`; 0 when there is none.
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.request("GET", "/metrics");
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Sum of the series of `family` whose labels hold `label`, such as `kind="select"`. Rare values of open-ended
    /// labels count as `other`, so a sum tells more than one series.
    #[must_use]
    pub fn metric_sum(&self, family: &str, label: &str) -> f64 {
        let (_, text) = self.request("GET", "/metrics");
        let of_family = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
        of_family
            .filter(|line| line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until the metric is `expected`.
    ///
    /// # Panics
    /// When it never is; the message has the family's series.
    #[track_caller]
    pub fn wait_for_metric(&self, series: &str, expected: f64) {
        self.wait_for_value(series, expected, || self.metric(series));
    }

    /// Waits until [`TestProxy::metric_sum`] is `expected`.
    ///
    /// # Panics
    /// As [`TestProxy::wait_for_metric`].
    #[track_caller]
    pub fn wait_for_sum(&self, family: &str, label: &str, expected: f64) {
        self.wait_for_value(family, expected, || self.metric_sum(family, label));
    }

    #[track_caller]
    fn wait_for_value(&self, series: &str, expected: f64, value: impl Fn() -> f64) {
        if try_wait_for(|| ((value() - expected).abs() < f64::EPSILON).then_some(())).is_none() {
            let family = series.split('{').next().unwrap_or_default();
            let (_, text) = self.request("GET", "/metrics");
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(family)).collect();
            panic!("{series} never became {expected}:\n{}", lines.join("\n"));
        }
    }

    /// Ends the proxy after its sessions, or after `timeout`.
    pub fn shutdown(mut self, timeout: Duration) {
        if let Some(running) = self.running.take() {
            running.shutdown(timeout);
        }
    }
}

fn list(answer: &Value, name: &str) -> Vec<Value> {
    assert_eq!(answer["schema_version"], 1, "{answer}");
    answer[name].as_array().expect("a list").clone()
}
