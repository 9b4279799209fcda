//! Tells the server the client's address, by changing the startup packet: the one visible difference pgtally can make,
//! and only where the operator asks for it.
//!
//! As `pgtally.client_addr` it can be read with `current_setting('pgtally.client_addr', true)`; as the end of
//! `application_name` it is in `pg_stat_activity` and in the log. Both are hints: a client can overwrite them later.

use std::net::SocketAddr;

use pgtally_protocol::startup::{LENGTH_BYTES, PACKET_BYTES_MAX, Startup};

use crate::config::ClientAddrForm;

const APPLICATION_NAME: &[u8] = b"application_name";
const SETTING: &[u8] = b"pgtally.client_addr";
/// Bytes of an application name that PostgreSQL keeps (`NAMEDATALEN` less one).
const NAME_BYTES_MAX: usize = 63;
/// Bytes of the protocol version behind the length.
const VERSION_BYTES: usize = 4;

/// `packet` with the client's address in it; `None` to forward it as it is.
///
/// A client on a Unix socket (`client` is `None`) is `[local]`, as in PostgreSQL's log.
pub(crate) fn rewritten(
    packet: &[u8],
    startup: &Startup,
    client: Option<SocketAddr>,
    form: ClientAddrForm,
) -> Option<Vec<u8>> {
    // A standby is known to `synchronous_standby_names` by its application_name, which commits wait for.
    let has_name = form.application_name && !startup.is_replication();
    if !form.setting && !has_name {
        return None;
    }
    let (address, endpoint) = (address(client), endpoint(client));
    let version = packet.get(LENGTH_BYTES..LENGTH_BYTES + VERSION_BYTES)?;
    let mut body = version.to_vec();
    let mut put = |name: &[u8], value: &[u8]| {
        for text in [name, value] {
            body.extend_from_slice(text);
            body.push(0);
        }
    };
    let is_replaced = |name: &[u8]| form.setting && name == SETTING || has_name && name == APPLICATION_NAME;
    for (name, value) in startup.parameters.iter().filter(|(name, _)| !is_replaced(name)) {
        put(name, value);
    }
    if has_name {
        let name = startup.parameter("application_name").unwrap_or_default();
        put(APPLICATION_NAME, &named(name, &endpoint));
    }
    if form.setting {
        put(SETTING, address.as_bytes());
    }
    body.push(0);
    let length = LENGTH_BYTES + body.len();
    // A packet that has no room left is PostgreSQL's to judge as it is.
    let length = u32::try_from(length).ok().filter(|_| length <= PACKET_BYTES_MAX)?;
    Some([&length.to_be_bytes()[..], &body].concat())
}

/// The client without its port.
fn address(client: Option<SocketAddr>) -> String {
    client.map_or_else(|| "[local]".to_owned(), |client| client.ip().to_canonical().to_string())
}

/// The client as it stands at the end of `application_name`.
pub(crate) fn endpoint(client: Option<SocketAddr>) -> String {
    let address = address(client);
    let Some(port) = client.map(|client| client.port()) else { return address };
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// `name - endpoint`, with the name cut so that PostgreSQL keeps the endpoint.
fn named(name: &[u8], endpoint: &str) -> Vec<u8> {
    if name.is_empty() {
        return endpoint.as_bytes().to_vec();
    }
    let end = format!(" - {endpoint}");
    let kept = name.len().min(NAME_BYTES_MAX.saturating_sub(end.len()));
    [name.get(..kept).unwrap_or_default(), end.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use pgtally_protocol::startup::{Packet, parse};

    use super::*;

    const BOTH: ClientAddrForm = ClientAddrForm { setting: true, application_name: true };

    fn packet(parameters: &str) -> (Vec<u8>, Startup) {
        let length = u32::try_from(9 + parameters.len()).unwrap().to_be_bytes();
        let packet = [&length[..], &0x3_0002_u32.to_be_bytes(), parameters.as_bytes(), &[0]].concat();
        let Ok(Packet::Startup(startup)) = parse(&packet) else { panic!() };
        (packet, startup)
    }

    fn told(parameters: &str, client: Option<&str>, form: ClientAddrForm) -> Option<Startup> {
        let (packet, startup) = packet(parameters);
        let client = client.map(|client| client.parse().unwrap());
        let rewritten = rewritten(&packet, &startup, client, form)?;
        let Ok(Packet::Startup(told)) = parse(&rewritten) else { panic!() };
        assert_eq!((told.major, told.minor), (3, 2));
        Some(told)
    }

    fn check(parameters: &str, client: Option<&str>, setting: &str, name: &str) {
        let told = told(parameters, client, BOTH).unwrap();
        assert_eq!(told.parameter("user"), Some(&b"ann"[..]));
        assert_eq!(told.parameter("pgtally.client_addr"), Some(setting.as_bytes()));
        assert_eq!(told.parameter("application_name"), Some(name.as_bytes()));
    }

    #[test]
    fn the_address_is_in_both_places() {
        check("user\0ann\0", Some("10.0.0.7:5123"), "10.0.0.7", "10.0.0.7:5123");
        let shop = "user\0ann\0application_name\0shop\0";
        check(shop, Some("10.0.0.7:5123"), "10.0.0.7", "shop - 10.0.0.7:5123");
        check(shop, Some("[::ffff:10.0.0.7]:5"), "10.0.0.7", "shop - 10.0.0.7:5");
        check(shop, Some("[2001:db8::7]:5123"), "2001:db8::7", "shop - [2001:db8::7]:5123");
        check(shop, None, "[local]", "shop - [local]");
    }

    #[test]
    fn standbys_keep_the_name_that_commits_wait_for() {
        let standby = "user\0ann\0replication\0true\0application_name\0standby1\0";
        let told = told(standby, Some("10.0.0.7:5123"), BOTH).unwrap();
        assert_eq!(told.parameter("application_name"), Some(&b"standby1"[..]));
        assert_eq!(told.parameter("pgtally.client_addr"), Some(&b"10.0.0.7"[..]));
        let name_only = ClientAddrForm { setting: false, application_name: true };
        assert!(self::told(standby, Some("10.0.0.7:5123"), name_only).is_none());
    }

    #[test]
    fn a_client_cannot_name_another_address() {
        let liar = "user\0ann\0pgtally.client_addr\x00127.0.0.1\0";
        check(liar, Some("10.0.0.7:5123"), "10.0.0.7", "10.0.0.7:5123");
    }

    #[test]
    fn long_names_are_cut_and_full_packets_left_alone() {
        let name = "n".repeat(200);
        let told_name =
            |client| told(&format!("user\0ann\0application_name\0{name}\0"), client, BOTH).unwrap();
        let told_name = told_name(Some("10.0.0.7:5123"));
        let told_name = told_name.parameter("application_name").unwrap();
        assert_eq!(told_name.len(), NAME_BYTES_MAX);
        assert!(told_name.ends_with(b"n - 10.0.0.7:5123"));
        let filler = format!("user\0ann\0x\0{}\0", "y".repeat(9_970));
        assert!(told(&filler, Some("10.0.0.7:5123"), BOTH).is_none());
    }

    #[test]
    fn off_is_off() {
        assert!(told("user\0ann\0", Some("10.0.0.7:5123"), ClientAddrForm::default()).is_none());
    }
}
